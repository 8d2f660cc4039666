"""One function a command. Each takes what the command takes and returns what `--json` prints.

Importing this module loads JAX; `import saltjax` does not.
"""

from saltjax.api._adapt import adapt as adapt
from saltjax.api._evaluate import compare as compare
from saltjax.api._evaluate import evaluate as evaluate
from saltjax.api._export import export as export
from saltjax.api._finetune import finetune as finetune
from saltjax.api._inspect import inspect as inspect
from saltjax.api._interventions import neurons_intervene as neurons_intervene
from saltjax.api._layers import layers_find as layers_find
from saltjax.api._neurons import neurons_find as neurons_find
from saltjax.api._neuronstuning import neurons_tune as neurons_tune
from saltjax.api._plan import plan as plan
from saltjax.api._questions import layers_questions as layers_questions
from saltjax.api._quickstart import quickstart as quickstart
from saltjax.api._report import report as report
from saltjax.api._studyanalysis import study_analyse as study_analyse
from saltjax.api._studyplan import study_plan as study_plan
from saltjax.api._studyrun import study_run as study_run
from saltjax.api._transfer import transfer as transfer
from saltjax.api._vocab import vocab_prune as vocab_prune
