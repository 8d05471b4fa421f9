"""Tiny random causal models of many architectures of transformers, in hub layout.

Each has two blocks and a hidden size of 32, and shares one byte-level tokenizer.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

_END, _PAD = "<|endoftext|>", "<|padding|>"
_WORDS = "About the map you are a fool see the table please that is a lovely friend draft list"
_VOCABULARY = 288
# Settings by the names that configurations have for them; each reads those that it knows.
_SIZES: dict[str, Any] = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
    "max_seq_len": 96,
    "head_dim": 8,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "state_size": 8,
    "mamba_d_state": 8,
    "mamba_dt_rank": 4,
    "time_step_rank": 4,
    "lru_width": 32,
    "attention_window_size": 16,
    "sliding_window": 16,
    "word_embed_proj_dim": 32,
    "ffn_dim": 48,
    "rotary_dim": 4,
}
# Where the sizes above do not fit together.
_SPECIAL: dict[str, dict[str, Any]] = {
    "axk1": {"qk_rope_head_dim": 8, "num_key_value_heads": 4},
    "bailing_hybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 4, "mamba_d_head": 16},
    "bart": {"decoder_layers": 2, "encoder_layers": 2, "decoder_attention_heads": 4}
    | {"decoder_ffn_dim": 32, "is_decoder": True},
    "deepseek_v2": {"head_dim": 4, "num_key_value_heads": 4},
    "deepseek_v3": {"head_dim": 4, "num_key_value_heads": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 16},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "mamba_n_heads": 4}
    | {"mamba_d_head": 16, "shared_intermediate_size": 16},
    "gemma3n_text": {"layer_types": ["sliding_attention", "full_attention"]}
    | {"num_kv_shared_layers": 0, "hidden_size_per_layer_input": 8, "laurel_rank": 4}
    | {"vocab_size_per_layer_input": _VOCABULARY, "activation_sparsity_pattern": [0.0, 0.0]}
    | {"intermediate_size": [48, 48]},
    "gemma4_text": {"layer_types": ["sliding_attention", "full_attention"]}
    | {"num_kv_shared_layers": 0, "hidden_size_per_layer_input": 8, "global_head_dim": 8}
    | {"vocab_size_per_layer_input": _VOCABULARY},
    "glm4_moe_lite": {"qk_rope_head_dim": 8, "num_key_value_heads": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "minicpm3": {"qk_rope_head_dim": 8, "num_key_value_heads": 4},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "xlnet": {"d_head": 8, "d_inner": 32},
    "youtu": {"qk_rope_head_dim": 8, "num_key_value_heads": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "n_groups": 2, "head_dim": 8, "chunk_size": 16},
    "falcon": {"new_decoder_architecture": False},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "mamba_headdim": 16, "n_mamba_heads": 4}
    | {"num_mem_blocks": 1, "mamba_ngroups": 1},
}


@cache
def shared_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE: end of text is token 0, padding 1."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_END, _PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([_WORDS] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=_END,
        eos_token=_END,
        pad_token=_PAD,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def tiny_config(kind: str, **settings: Any) -> PreTrainedConfig:
    """The configuration of a tiny model of an architecture."""
    config_class = type(AutoConfig.for_model(kind))
    known = config_class().to_dict().keys() | getattr(config_class, "attribute_map", {}).keys()
    sizes = {name: value for name, value in _SIZES.items() if name in known}
    config: PreTrainedConfig = config_class(**sizes | _SPECIAL.get(kind, {}) | settings)
    return config


def tiny_model(kind: str, **settings: Any) -> PreTrainedModel:
    """A tiny random causal model, in evaluation mode.

    Its weights are spread wide enough that greedy texts vary and no two tokens tie.
    """
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(tiny_config(kind, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(4.0)
    return model.eval()


def save_tiny(kind: str, folder: Path, **settings: Any) -> Path:
    """A tiny model's folder in hub layout, with the shared tokenizer."""
    tiny_model(kind, **settings).save_pretrained(folder)
    shared_tokenizer().save_pretrained(folder)
    return folder
