"""FOCUS (Dobler & de Melo 2023, arXiv 2305.14481): convex combinations of the nearest shared tokens."""

from saltjax.transfer.material import Material
from saltjax.transfer.mixture import Mixture
from saltjax.transfer.problem import Problem, described
from saltjax.transfer.sparsemax import sparsemax_mixture


def focus(problem: Problem, material: Material, *, neighbours: str = "aux") -> Mixture:
    """`row = sum_o sparsemax(cos(f(u), f(o)))_o E[o]` over the anchors o, §3.1 of the paper; no temperature.

    f are the auxiliary vectors. The paper trains fastText on text cut by the target's tokenizer; ours are vectors of
    the tokens' surface texts (`--aux`, `--aux-text`), so the same rule meets another space. Tokens without a vector
    are no anchors and fall back to N(mean, std), as in the paper's code. `neighbours="plm"` (ours) takes the cosines
    between the PLM's rows less the anchors' mean.
    """
    new, anchors = described(problem, neighbours)
    return sparsemax_mixture(new, anchors, material.mesh).over(problem.anchors_source)
