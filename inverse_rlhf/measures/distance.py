"""Distances that ignore what pairs cannot tell: a prompt-wise offset and a positive scale."""

import numpy as np
from jaxtyping import Float


def canonical(
    reward: Float[np.ndarray, "prompts completions"],
) -> Float[np.ndarray, "prompts completions"]:
    """The reward less its mean over each prompt's completions, divided by its L2 norm.

    The one-step canonical form of STARC (Skalse et al. 2023, definition 3): two rewards have the
    same form exactly when they differ by prompt-wise offsets and a positive scale. A reward that is
    constant within every prompt has the form zero.
    """
    centred = reward.astype(np.float64)
    centred = centred - centred.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred)
    if norm <= 1e-12 * np.abs(reward).max():
        return np.zeros_like(centred)
    form: Float[np.ndarray, "prompts completions"] = centred / norm
    return form


def starc_distance(
    first: Float[np.ndarray, "prompts completions"],
    second: Float[np.ndarray, "prompts completions"],
) -> float:
    """Half the L2 distance of the canonical forms: 0 the same reward, 1 the opposite (STARC)."""
    return float(np.linalg.norm(canonical(first) - canonical(second)) / 2)


def epic_distance(
    first: Float[np.ndarray, "prompts completions"],
    second: Float[np.ndarray, "prompts completions"],
) -> float:
    """sqrt((1 - rho) / 2), rho the Pearson correlation of the canonical forms (Gleave et al. 2020).

    With one step and equal weights the canonical forms have mean 0 and norm 1, so this equals
    `starc_distance`, unless a form is zero: then rho is taken as 0.
    """
    rho = float((canonical(first) * canonical(second)).sum())
    return float(np.sqrt(max(0.0, 1.0 - rho) / 2))
