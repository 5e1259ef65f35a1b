"""For Hugging Face: an ImageFolder, which ``datasets.load_dataset("imagefolder", data_dir=...)`` reads.

Invariant: every image has exactly one line in ``metadata.jsonl``, and every line has the same keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tirada.output.export.workshop import (
    DRAFT,
    Exported,
    Gatherer,
    Item,
    copy_image,
    new_folder,
    nothing_to_export,
)
from tirada.output.folders import EXTENSIONS
from tirada.output.text import counted

#: In a split of its own: some versions of ``datasets`` overlook a metadata.jsonl at the top.
SPLIT = "train"
README = """\
---
pretty_name: Images made with Tirada
task_categories:
- text-to-image
tags:
- synthetic
---

# Images made with Tirada

{images} with title, description (`text`), tags, prompt and settings.

```python
from datasets import load_dataset

dataset = load_dataset("imagefolder", data_dir="{name}", split="{split}")
```

Models: {models}. Before you publish it, add a `license` above that those models allow.
"""


def export(folders: Iterable[Path], destination: Path) -> Exported:
    """Copy the finished images and describe each in ``metadata.jsonl``, in a new folder."""
    gatherer, done = Gatherer(folders), Exported(destination)
    models: set[str] = set()
    drafts = 0
    with new_folder(destination) as folder:
        split = folder / SPLIT
        split.mkdir()
        with (split / "metadata.jsonl").open("x", encoding="utf-8", newline="\n") as lines:
            for number, item in enumerate(gatherer, start=1):
                name = f"{number:06d}.{EXTENSIONS[item.info.format]}"
                copy_image(item, split / name)
                lines.write(json.dumps(_line(name, item), ensure_ascii=False) + "\n")
                models.add(item.image.model or item.info.model)
                drafts += item.info.backend == DRAFT
                done.images = number
        if not done.images:
            raise nothing_to_export(gatherer)
        text = README.format(
            images=counted(done.images, "image"), name=destination.name, split=SPLIT, models=", ".join(sorted(models))
        )
        (folder / "README.md").write_text(text, encoding="utf-8")
    done.tables = [f"{SPLIT}/metadata.jsonl"]
    done.notes = list(gatherer.notes())
    if drafts:
        done.notes.append(f"{counted(drafts, 'image is a draft', 'images are drafts')}: sketched offline, by no model.")
    return done


def _line(name: str, item: Item) -> dict[str, Any]:
    info, image, words = item.info, item.image, item.words
    return {
        "file_name": name,
        "title": words.title,
        "text": words.description or words.prompt,
        "prompt": words.prompt,
        "negative_prompt": info.negative_prompt,
        "tags": words.metatags,
        "seed": image.seed,
        "width": image.width,
        "height": image.height,
        "model": image.model or info.model,
        "backend": info.backend,
        "steps": info.steps,
        "cfg_scale": info.cfg_scale,
        "scheduler": info.scheduler,
        "role": info.role,
        "theme": info.theme,
        "language": info.language,
        "sha256": image.sha256,
        "batch_id": info.batch_id,
        "created_at": info.created_at.isoformat(),
    }
