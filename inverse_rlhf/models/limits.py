"""Whether the base policy is large enough for what params.yaml asks of it."""

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.blocks import blocks, train_top_blocks
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.lora import check_lora
from inverse_rlhf.params import Params


def check_settings(policy: Model, params: Params) -> None:
    """Check what any stage asks of the base policy: blocks to train or to keep, and its context.

    Of a policy that is trained from scratch `Params` checks the same before any work.

    Raises:
        UserError: naming the first setting that is too large, or needs blocks that are not found.
    """
    config = policy.module.config.get_text_config()
    asked = {
        "rlhf.trainable_layers": params.rlhf.trainable_layers != "all",
        "irl.blocks": params.irl.blocks != "all",
        "irl.trainable": params.irl.trainable == "last_k",
    }
    for key in (key for key, is_asked in asked.items() if is_asked):
        try:
            blocks(policy.module)
            if key != "irl.blocks":
                train_top_blocks(policy.module, 1)
                policy.module.requires_grad_(True)
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
    if params.rlhf.lora_rank:
        check_lora(policy.module, "rlhf.lora_rank")
    if params.irl.trainable == "lora":
        check_lora(policy.module, "irl.trainable")
    source = params.base_policy.source
    if policy.max_tokens < 2:
        raise UserError(
            f"base_policy.source: {source} reads {policy.max_tokens} tokens, as its config.json "
            "says: set max_position_embeddings there to its context"
        )
    fault = params.too_large(
        int(config.num_hidden_layers),
        policy.max_tokens,
        called=(f"the number of blocks of {source}", f"the context of {source} in tokens"),
    )
    if fault:
        raise UserError(fault)
