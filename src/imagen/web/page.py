"""The page: what happens at a click. The work is done by the modules beside it."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import numpy as np
from gradio.events import api
from PIL import Image

from imagen.web import figures
from imagen.web.cascades import Cascades
from imagen.web.composing import steps_of
from imagen.web.fields import (
    NAMES,
    Fields,
    Results,
    defaults_as_values,
    gallery,
    make_fields,
    make_results,
    told_in_one_line,
)
from imagen.web.form import ANEW, Form, filled, row_of_weights
from imagen.web.history import History, Made
from imagen.web.order import Order
from imagen.web.studio import Studio
from imagen.web.uploads import enlarged_to_paint
from imagen.web.worker import Job, StoppedError, Worker

MOST_SHOWN = 60
"""Pictures in the history on the page; the folder keeps all."""

AT_ONCE = 16
"""Clicks that may wait for their turn."""


SECONDS_BETWEEN_LOOKS = 0.05
"""For new clicks. Gradio looks every millisecond, which takes a tenth of a core for nothing."""


class Page:
    """What the page does.

    Args:
        cascades: those to choose from.
        history: where the pictures go.
        worker: the thread that samples.
    """

    def __init__(self, cascades: Cascades, history: History, worker: Worker) -> None:
        self._cascades, self._history, self._worker = cascades, history, worker
        self._studio = Studio(cascades, history)
        self._jobs: dict[str, Job] = {}

    def build(self) -> gr.Blocks:
        names = list(self._cascades.choices)
        with gr.Blocks(
            title="open Imagen", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
        ) as blocks:
            with gr.Row(elem_id="sheet"):
                with gr.Column(scale=2, min_width=320):
                    fields = make_fields(names, self._cascades.choice(names[0]).defaults)
                with gr.Column(scale=3, min_width=320):
                    results = make_results()
            self._connect(blocks, fields, results)
        blocks.queue(default_concurrency_limit=AT_ONCE, max_size=AT_ONCE)
        blocks._queue.sleep_when_free = SECONDS_BETWEEN_LOOKS
        return blocks

    def _connect(self, blocks: gr.Blocks, fields: Fields, results: Results) -> None:
        shown = [results.canvas, results.command, results.history]
        selected = gr.State(None)
        fields.make.click(self.make, fields.form, shown, api_name="make", show_progress="hidden")
        fields.row.click(self.row, [fields.weights, *fields.form], shown, api_name="row", show_progress="hidden")
        fields.stop.click(self.stop, None, None, api_name="stop", queue=False)
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
        fields.new_seed.click(lambda: secrets.randbelow(2**31), None, fields["seed"], **private)
        fields["cascade"].input(self.defaults, fields["cascade"], fields.settings, **private)
        for sampler, steps in (("sampler", "steps"), ("sr_sampler", "sr_steps")):
            fields[sampler].input(steps_of, fields[sampler], fields[steps], **private)
        results.history.select(self.select, None, [results.canvas, results.command, selected], **private)
        results.refill.click(self.refill, selected, [fields[name] for name in NAMES[2:13]], **private)
        results.paint.click(self.paint, selected, [fields["task"], fields["painting"]], **private)
        blocks.load(self.opened, None, [fields["cascade"], results.history], **private)
        blocks.unload(self.stop)
        api(self.made, api_name="history", queue=False)

    def make(self, request: gr.Request, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The pictures that the form asks for."""
        yield from self._run(Form(*values), lambda order: [order], request)

    def row(self, request: gr.Request, weights: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The same pictures at each of `weights`."""
        yield from self._run(Form(*values), lambda order: row_of_weights(order, weights), request)

    def _run(
        self, form: Form, orders: Callable[[Order], list[Order]], request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Canvas, command and history, again and again until the pictures are done."""
        folders: list[Any] = []

        def new_folder() -> Any:
            folders.append(self._history.new_folder("_begun_with"))
            return folders[-1]

        try:
            with told_in_one_line():
                choice = self._cascades.choice(form.cascade)
                wanted = orders(form.order(choice, new_folder))
                job = self._worker.start(lambda report: self._studio.carry_out(choice, wanted, report))
                self._jobs[_session(request)] = job
                for before, news in self._worker.follow(job):
                    text = figures.shown(news) if news is not None and not before else _waiting(before)
                    yield text, gr.skip(), gr.skip()
                made: list[Made] = job.future.result()
            folders.clear()
            commands = "\n".join(one.command for one in made)
            yield figures.shown([*made]), commands, gallery(self._history.newest(MOST_SHOWN), MOST_SHOWN)
        except StoppedError:
            yield figures.blank("stopped"), gr.skip(), gr.skip()
        finally:
            for folder in folders:
                self._history.discard(folder)

    def stop(self, request: gr.Request) -> None:
        """Ends what this visitor runs, at the next evaluation of a denoiser."""
        if job := self._jobs.pop(_session(request), None):
            job.stop()

    def made(self, most: int = MOST_SHOWN) -> list[dict[str, Any]]:
        """What was made, newest first: files, command and settings."""
        return [
            {"files": [str(path) for path in one.paths], "command": one.command, "order": one.order}
            for one in self._history.newest(most)
        ]

    def opened(self) -> tuple[Any, Any]:
        """What may have changed since the server was started."""
        with told_in_one_line():
            return gr.update(choices=list(self._cascades.choices)), gallery(
                self._history.newest(MOST_SHOWN), MOST_SHOWN
            )

    def defaults(self, cascade: str) -> list[Any]:
        """Of a cascade that was chosen."""
        with told_in_one_line():
            return defaults_as_values(self._cascades.choice(cascade).defaults)

    def select(self, event: gr.SelectData) -> tuple[str, str, tuple[str, str]]:
        """The pictures of an order of the history, its command, and what was clicked: its folder and file."""
        name = event.value["image"]["path"].rsplit("/", 1)[-1]
        every = [(one, path) for one in self._history.newest(MOST_SHOWN) for path in one.paths][:MOST_SHOWN]
        made, path = every[event.index] if event.index < len(every) else (None, None)
        if made is None or path is None or path.name != name:
            raise gr.Error("the history has changed: load the page again", print_exception=False)
        return figures.shown([made]), made.command, (made.folder, path.name)

    def refill(self, selected: tuple[str, str] | None) -> list[Any]:
        """The fields as they were for a picture."""
        return list(filled(self._selected(selected)[0].order))

    def paint(self, selected: tuple[str, str] | None) -> tuple[str, Any]:
        """The editor with a picture of the history."""
        made, file = self._selected(selected)
        picture = enlarged_to_paint(np.asarray(Image.open(made.paths[made.files.index(file)]).convert("RGB")))
        return ANEW, {"background": picture, "layers": [], "composite": None}

    def _selected(self, selected: tuple[str, str] | None) -> tuple[Made, str]:
        for one in self._history.newest(MOST_SHOWN) if selected else ():
            if selected is not None and one.folder == selected[0]:
                return one, selected[1]
        raise gr.Error("click a picture of the history first", print_exception=False)


def _session(request: gr.Request) -> str:
    return request.session_hash or ""


def _waiting(before: int) -> str:
    if before:
        return figures.blank(f"waiting for {before} other run{'s' if before > 1 else ''}")
    return figures.blank("loading the cascade …")
