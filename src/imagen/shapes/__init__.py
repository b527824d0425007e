"""The shapes world: captioned pictures with exact answers (docs/reference/shapes_world.md)."""

from imagen.shapes.captions import caption, parse
from imagen.shapes.checking import CATEGORIES, Category, Verdict, categories, check, judge
from imagen.shapes.descriptions import KINDS, Composition, Counting, Description, Look, Pair, Position, Single
from imagen.shapes.drawing import draw
from imagen.shapes.observation import Observation, SeenObject, observe
from imagen.shapes.outlines import outline
from imagen.shapes.paraphrases import paraphrases
from imagen.shapes.scenes import KIND_PROPORTIONS, Scene, ShapeObject, arrange, sample_scene
from imagen.shapes.splits import Split, all_captions, all_descriptions, is_held_out
from imagen.shapes.vocabulary import Background, Colour, Relation, Shape, Size

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
    "outline",
    "paraphrases",
    "parse",
    "sample_scene",
]
