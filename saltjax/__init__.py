"""saltjax: a target language's vocabulary for an English-centric LLM.

`saltjax.api` holds one function a command; `saltjax.transfer` the kernels. Importing the package itself costs
nothing: JAX and transformers are imported where they are needed.
"""

from importlib.metadata import version

__version__ = version("saltjax")
