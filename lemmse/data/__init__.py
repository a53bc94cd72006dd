"""Images: named sets, folders and archives, crops of photographs, and worlds unlike any training set."""

from __future__ import annotations

from lemmse.data.sets import load_images

__all__ = ["load_images"]
