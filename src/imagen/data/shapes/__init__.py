"""The shapes world: captioned pictures with exact answers (docs/shapes_world.md)."""

from imagen.data.shapes.captions import caption, parse
from imagen.data.shapes.checking import CATEGORIES, Category, Verdict, categories, check, judge
from imagen.data.shapes.descriptions import KINDS, Composition, Counting, Description, Look, Pair, Position, Single
from imagen.data.shapes.drawing import draw
from imagen.data.shapes.observation import Observation, SeenObject, observe
from imagen.data.shapes.paraphrases import paraphrases
from imagen.data.shapes.scenes import KIND_PROPORTIONS, Scene, ShapeObject, arrange, sample_scene
from imagen.data.shapes.splits import Split, all_captions, all_descriptions, is_held_out
from imagen.data.shapes.vocabulary import Background, Colour, Relation, Shape, Size

__all__ = [
    "CATEGORIES",
    "KINDS",
    "KIND_PROPORTIONS",
    "Background",
    "Category",
    "Colour",
    "Composition",
    "Counting",
    "Description",
    "Look",
    "Observation",
    "Pair",
    "Position",
    "Relation",
    "Scene",
    "SeenObject",
    "Shape",
    "ShapeObject",
    "Single",
    "Size",
    "Split",
    "Verdict",
    "all_captions",
    "all_descriptions",
    "arrange",
    "caption",
    "categories",
    "check",
    "draw",
    "is_held_out",
    "judge",
    "observe",
    "paraphrases",
    "parse",
    "sample_scene",
]
