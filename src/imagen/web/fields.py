"""The fields of the page, in the order of `Form`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from imagen.errors import UserError
from imagen.web import figures
from imagen.web.composing import Defaults, options
from imagen.web.form import ANEW, CHANGE, ENLARGE, TASKS, TEXT
from imagen.web.history import Made
from imagen.web.uploads import check_picture

PROMPT = "a red circle above a blue square on a white background"
WEIGHTS = "1, 2, 3, 5, 8"


CSS = (
    figures.STYLE
    + """
footer {display: none !important;}
#sheet {max-width: 1400px; margin: 0 auto; flex-wrap: nowrap;}
#task label {padding: 6px 9px;}
#history img {image-rendering: pixelated;}
#history .grid-wrap {min-height: 0; max-height: 380px;}
#history .grid-wrap .caption-label {display: none;}
#history .grid-container {grid-template-columns: repeat(6, minmax(0, 1fr)) !important;}
@media (max-width: 800px) {
  #history .grid-container {grid-template-columns: repeat(4, minmax(0, 1fr)) !important;}
  #sheet {flex-direction: column;}
  #sheet > * {min-width: 0 !important; width: 100%;}
}
"""
)


@dataclass(frozen=True)
class Fields:
    """`form`: the fields of a `Form`, in order. `settings`: those that the cascade has defaults for."""

    form: list[Any]
    weights: gr.Textbox
    make: gr.Button
    row: gr.Button
    stop: gr.Button
    new_seed: gr.Button

    def __getitem__(self, name: str) -> Any:
        return self.form[NAMES.index(name)]

    @property
    def settings(self) -> list[Any]:
        return [self[name] for name in SETTINGS]


NAMES: tuple[str, ...] = (
    "cascade", "task", "prompts", "negative", "count", "seed", "weight", "sr_weight", "sampler", "steps", "sr_sampler",
    "sr_steps", "thresholding", "painting", "picture", "strength", "resample",
)  # fmt: skip
SETTINGS = ("weight", "sr_weight", "sampler", "steps", "sr_sampler", "sr_steps", "thresholding")


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """A user's mistake is shown on the page in its own line, and nowhere else."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), print_exception=False, title="This cannot be done") from None


def looking_first(component: Any) -> Any:
    """`component`, a gr.Image or gr.ImageEditor, which then opens only files that were looked at.

    Not by a subclass: of those, Gradio writes a stub beside the source.
    """
    name = "convert_and_format_image" if isinstance(component, gr.ImageEditor) else "preprocess"
    read = getattr(component, name)

    def checked(file: Any, *rest: Any, **options: Any) -> Any:
        with told_in_one_line():
            if file is not None:
                check_picture(file if isinstance(file, bytes) else Path(file.path))
        return read(file, *rest, **options)

    setattr(component, name, checked)
    return component


def defaults_as_values(defaults: Defaults) -> list[Any]:
    """The values of `Fields.settings`."""
    base, others = defaults.base, defaults.others
    return [
        base.weight, others.weight, base.sampler, base.steps, others.sampler, others.steps, defaults.thresholding,
    ]  # fmt: skip


@dataclass(frozen=True)
class Results:
    """Where the pictures are shown: the newest, what made it, and all that came before."""

    canvas: gr.HTML
    command: gr.Textbox
    history: gr.Gallery
    refill: gr.Button
    paint: gr.Button


def make_fields(cascades: list[str], defaults: Defaults) -> Fields:
    values = dict(zip(SETTINGS, defaults_as_values(defaults), strict=True))
    made: dict[str, Any] = {
        "cascade": gr.Dropdown(cascades, value=cascades[0], label="Cascade"),
        "task": gr.Radio(list(TASKS), value=TEXT, label="What to do", elem_id="task"),
    }
    with gr.Column(visible=False) as painting_column:
        made["painting"] = looking_first(_editor())
        made["resample"] = gr.Number(
            0, label="Times each step is taken", info="0: the default. More: what is new fits better; slower."
        )
    with gr.Column(visible=False) as picture_column:
        made["picture"] = looking_first(
            gr.Image(label="Picture", type="filepath", image_mode=None, sources=["upload", "clipboard"], height=260)
        )
        made["strength"] = gr.Slider(
            0, 1, 0.6, step=0.05, label="Strength", info="0 gives the picture back, 1 draws all anew."
        )
    made["prompts"] = gr.Textbox(PROMPT, label="Prompts, one a line", lines=3, max_lines=12, elem_id="prompts")
    with gr.Row():
        make = gr.Button("Make pictures", variant="primary", elem_id="make", min_width=110, size="md")
        row = gr.Button("Row of weights", variant="secondary", elem_id="row", min_width=110, size="md")
        stop = gr.Button("Stop", variant="stop", elem_id="stop", min_width=60, size="md")
    made["weight"] = gr.Slider(0, 20, values["weight"], step=0.1, label="Guidance weight (1 is off)", elem_id="weight")
    weights = gr.Textbox(WEIGHTS, label="Guidance weights of a row, on the same noise", elem_id="weights")
    with gr.Group():
        with gr.Row():
            made["seed"] = gr.Number(0, label="Seed", min_width=100)
            made["count"] = gr.Number(1, label="Pictures of each prompt", min_width=100)
        new_seed = gr.Button("New seed", size="sm")
    with gr.Accordion("Sampling", open=False):
        made["negative"] = gr.Textbox(
            "", label="Negative prompt", info="What to steer away from, in the place of “no text”."
        )
        with gr.Row():
            made["sampler"] = gr.Dropdown(
                options("sampler"), value=values["sampler"], label="Sampler of the base stage", min_width=130
            )
            made["steps"] = gr.Number(values["steps"], label="Steps", min_width=80)
        with gr.Row():
            made["sr_sampler"] = gr.Dropdown(
                options("sampler"),
                value=values["sr_sampler"],
                label="Sampler of the stages that enlarge",
                min_width=130,
            )
            made["sr_steps"] = gr.Number(values["sr_steps"], label="Steps", min_width=80)
        with gr.Row():
            made["sr_weight"] = gr.Number(values["sr_weight"], label="Guidance weight where it enlarges", min_width=130)
            made["thresholding"] = gr.Dropdown(
                options("thresholding"), value=values["thresholding"], label="Thresholding", min_width=130
            )
    _show_what_the_task_needs(made, painting_column, picture_column)
    return Fields([made[name] for name in NAMES], weights, make, row, stop, new_seed)


def make_results() -> Results:
    canvas = gr.HTML(figures.BLANK, elem_id="canvas")
    command = gr.Textbox(
        label="The command that makes it again", lines=2, max_lines=6, buttons=["copy"], interactive=False,
        elem_id="command",
    )  # fmt: skip
    gr.Markdown("**History**, newest first. A click shows a picture again, with its command.")
    history = gr.Gallery(
        show_label=False, height=None, object_fit="contain", allow_preview=False, format="png",
        buttons=[], interactive=False, elem_id="history",
    )  # fmt: skip
    with gr.Row():
        refill = gr.Button("Use its settings", size="md", min_width=120)
        paint = gr.Button("Paint on it", size="md", min_width=120)
    return Results(canvas, command, history, refill, paint)


def gallery(history: list[Made], most: int) -> list[tuple[str, str]]:
    """Paths and captions, newest first."""
    every = [
        (str(path), f"w {made.weight:g} · {made.prompt(i)}") for made in history for i, path in enumerate(made.paths)
    ]
    return every[:most]


def _editor() -> gr.ImageEditor:
    return gr.ImageEditor(
        label="Paint over what changes", type="filepath", image_mode="RGBA", format="png",
        sources=["upload", "clipboard"], transforms=["crop"], layers=False, height=520, elem_id="painting",
        brush=gr.Brush(default_size=40, colors=["#ff00ff"], color_mode="fixed"), eraser=gr.Eraser(default_size=40),
        canvas_size=(512, 512),
    )  # fmt: skip


def _show_what_the_task_needs(made: dict[str, Any], painting: gr.Column, picture: gr.Column) -> None:
    def show(task: str) -> list[Any]:
        needed = (task == ANEW, task in (CHANGE, ENLARGE), task == CHANGE)
        return [gr.update(visible=one) for one in needed]

    made["task"].change(
        show, made["task"], [painting, picture, made["strength"]], api_visibility="private", show_progress="hidden"
    )
