"""Tokenizers made in memory, of the very classes that the real checkpoints use."""

from __future__ import annotations

import string

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer, T5Tokenizer

#: What the vocabularies are made of; any other word is read letter by letter.
SAMPLE = """
a an the of and in on at with under by for is lit light soft warm cold morning night sun moon golden blue red green
white black quiet old young small large portrait landscape street city forest garden river sea mountain house cat dog
fox bird woman man robot photo painting watercolour digital art tones mood style detailed low quality blurry text
watermark
"""
WORDS = SAMPLE.split()
#: What Qwen-Image says before each prompt, so that it has as many tokens as with the real vocabulary: 34 are cut off.
TEMPLATE = (
    " image by detailing color shape size texture quantity text spatial relationships of the objects and background"
)
CLIP_LENGTH, T5_LENGTH, LLM_LENGTH = 77, 512, 4096
#: Tokens all vocabularies fit in.
VOCABULARY = 1024

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ image_token }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def clip() -> CLIPTokenizer:
    start, end = "<|startoftext|>", "<|endoftext|>"
    letters, merges = pairs("</w>")
    tokens = [*letters, *(letter + "</w>" for letter in letters), *_merged(merges), start, end]
    return CLIPTokenizer(vocab=_numbered(tokens), merges=merges, model_max_length=CLIP_LENGTH)


def t5() -> T5Tokenizer:
    words = sorted({f"▁{word}" for word in WORDS if len(word) > 1})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0), *((word, -3.0) for word in words)]
    pieces += [(letter, -5.0) for letter in string.printable.strip()]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=T5_LENGTH)


def qwen(*extra: str) -> Qwen2Tokenizer:
    """With ``extra`` tokens of its own, e.g. where a picture stands in the text."""
    letters, merges = pairs("", *TEMPLATE.replace(" ", " Ġ").split(), "Describe", "system", "user", "assistant")
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *extra]
    tokenizer = Qwen2Tokenizer(
        vocab=_numbered([*letters, *_merged(merges), *special]),
        merges=merges,
        model_max_length=LLM_LENGTH,
        additional_special_tokens=special[1:],
        padding_side="right",
    )
    tokenizer.chat_template = CHAT.replace("{{ image_token }}", "<|vision_start|><|image_pad|><|vision_end|>")
    return tokenizer


def mistral(template: str) -> PreTrainedTokenizerFast:
    """With the words of a ``template`` in it, so that little of its room goes to them."""
    letters, merges = pairs("", *(f"Ġ{word}" for word in template.split()))
    special = ["<unk>", "<s>", "</s>", "<pad>", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[INST]", "[/INST]"]
    inner = Tokenizer(BPE(vocab=_numbered([*special, *letters, *_merged(merges)]), merges=merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=special[4:],
        model_max_length=LLM_LENGTH,
        padding_side="left",
    )
    tokenizer.chat_template = CHAT.replace("{{ image_token }}", "[IMG]")
    return tokenizer


def pairs(suffix: str, *more: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The 256 stand-ins of raw bytes, and which tokens join into longer ones until they are a word.

    With a suffix it ends each word, as in CLIP; without, a space (Ġ) begins each, except in ``more``.
    """
    words = [[*word[:-1], word[-1] + suffix] for word in WORDS] if suffix else [list(f"Ġ{word}") for word in WORDS]
    merges: dict[tuple[str, str], None] = {}
    for letters in (*words, *map(list, more)):
        whole = letters[0]
        for letter in letters[1:]:
            merges[whole, letter] = None
            whole += letter
    return sorted(pre_tokenizers.ByteLevel.alphabet()), list(merges)


def _merged(merges: list[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(left + right for left, right in merges))


def _numbered(tokens: list[str]) -> dict[str, int]:
    unique = list(dict.fromkeys(tokens))
    assert len(unique) <= VOCABULARY
    return {token: number for number, token in enumerate(unique)}
