"""The LightningModule that distils a stage."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from imagen.checks.arguments import Count, check_arguments
from imagen.data.batch import Batch
from imagen.devices import moved
from imagen.diffusion.denoiser import Denoiser
from imagen.diffusion.distillation.steps import Lesson, OneEstimate, StepsInOne, student_target
from imagen.diffusion.distillation.teacher import GuidedTeacher
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.spacing import Spacing
from imagen.diffusion.thresholding import Thresholding
from imagen.errors import UserError
from imagen.files import user_path
from imagen.instantiation import configuration_of
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.distillation.guidance_conditioner import inside, told_up_to
from imagen.stages.export import TrainedStage, load_stage
from imagen.stages.self_conditioner import SelfConditioner
from imagen.tensors import PerImage
from imagen.text.record import differences


class StudentStage(DiffusionStage):
    """Trains a denoiser on the estimates of a trained stage, in the place of the pictures' own (Meng et al. 2023).

    A first student learns the guided estimate of its teacher at every noise level, and so makes one pass where the
    teacher makes two (`steps=None`). A next one takes one step where its teacher takes two (progressive distillation,
    Salimans & Ho 2022) or more. Each begins with the weights of its teacher: `imagen.runs.fine_tuning.begin_with`.

    The teacher is loaded once, frozen, with its averaged weights. It is no part of the student's checkpoint, which
    names it by the sha256 of its weights.

    Args:
        teacher: folder of an exported stage of the same pictures, text and noise schedule.
        steps: of DDIM; None: no steps, only guidance is distilled.
        steps_in_one: how many steps of the teacher one of the student takes the place of, at least 2.
        spacing: of the steps of both.
        thresholding: of the teacher's guided estimates.
        stage: the arguments of `DiffusionStage`. No text is dropped. The conditioner must tell a guidance weight.

    Raises:
        UserError: for a folder without an exported stage, and for a teacher that does not fit.
    """

    def __init__(
        self,
        teacher: str | None,
        steps: Count | None,
        spacing: Spacing,
        thresholding: Thresholding,
        steps_in_one: int = 2,
        **stage: Any,
    ) -> None:
        check_arguments(DiffusionStage, stage, "stage")
        arguments: dict[str, Any] = {"text_dropout": 0.0} | stage
        super().__init__(**arguments)
        if self.text_dropout > 0:
            raise UserError(f"stage.text_dropout={self.text_dropout}: a student is told every caption; set it to 0")
        if teacher is None:
            raise UserError("stage.teacher=null: give the folder of the exported stage to distil, as init_from=...")
        self.where = f"stage.teacher={teacher}"
        self.teacher = load_stage(user_path(teacher))
        self.taught_by = self.teacher.description.weights_sha256
        self.lesson: Lesson = OneEstimate(self.schedule)
        if steps is not None:
            self.lesson = StepsInOne(self.schedule, steps, spacing, steps_in_one)
        told = told_up_to(self.teacher.model.conditioner) is not None
        guided = told_up_to(self.conditioner) != 1
        self.teach = GuidedTeacher(self.teacher.model.denoiser, thresholding, told, guided)
        refuse_misfit(self, self.teacher)

    def _losses(
        self, denoiser: Denoiser, batch: Batch, generator: torch.Generator, training: bool
    ) -> tuple[PerImage, PerImage]:
        """Loss and log-SNR of each image, for noise drawn from `generator`."""
        paths = self.lesson.draw(len(batch.images), generator)
        level = NoiseLevel(moved(paths[0].to(batch.images.dtype), batch.images.device))
        eps = moved(torch.randn(batch.images.shape, generator=generator), batch.images.device)
        z = level.add_noise(batch.images, eps)
        tell = self.conditioner.for_training if training else self.conditioner.for_validation
        conditioning = tell(batch, generator)
        with torch.no_grad():
            x0 = student_target(partial(self.teach, conditioning=conditioning), z, paths)
        eps = (z - level.alpha * x0) / level.sigma  # what the target leaves of z; `loss` makes the same z of both
        return denoiser.loss(x0, eps, level, conditioning), level.log_snr

    def on_fit_start(self) -> None:
        self.teacher.model.denoiser.to(self.device)

    def reads(self, text: Mapping[str, Any] | None) -> None:
        described = self.teacher.description
        if described.text != text:
            raise UserError(
                f"{self.where}: trained on another text encoder than this run's ({differences(described.text, text)}); "
                "choose the text= of that stage"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["taught_by"] = self.taught_by

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises UserError when the weights are another network's, or the teacher is another one."""
        super().on_load_checkpoint(checkpoint)
        if (before := checkpoint.get("taught_by")) != self.taught_by:
            raise UserError(
                f"{self.where}: the run was taught by weights {before!s:.12}…, and these are {self.taught_by:.12}…; "
                "put those back, or give the new run another name"
            )


def refuse_misfit(student: StudentStage, teacher: TrainedStage) -> None:
    """Raises UserError if `student` cannot learn from `teacher`."""
    where, model, distilled = student.where, teacher.model, teacher.description.made_for
    for name, mine, other in (
        ("pictures of side", student.resolution, model.resolution),
        ("an enlargement of", student.conditioner.factor, model.conditioner.factor),
        ("the noise schedule", student.schedule, model.schedule),
    ):
        if mine != other:
            raise UserError(f"{where}: has {name} {other}, and this stage {mine}; choose them alike")
    up_to, taught = told_up_to(student.conditioner), told_up_to(model.conditioner)
    if up_to is None:
        raise UserError(
            "stage.conditioner tells no guidance weight, which a student needs: put "
            "imagen.stages.distillation.guidance_conditioner.GuidanceConditioner around it"
        )
    if any(isinstance(one, SelfConditioner) for one in inside(model.conditioner)):
        raise UserError(f"{where}: is told its own estimates, which distillation has not; choose a teacher that is not")
    if taught is not None and up_to > taught:
        raise UserError(
            f"{where}: was told guidance weights up to {taught:g}, and this stage is to be told some up to {up_to:g}; "
            f"set stage.conditioner.up_to={taught:g}"
        )
    if distilled is not None and distilled.steps is not None:
        lesson = student.lesson
        asked = isinstance(lesson, StepsInOne) and (lesson.teachers_steps, configuration_of(lesson.spacing))
        if asked != (distilled.steps, distilled.spacing):
            raise UserError(
                f"{where}: was made for {distilled.steps} steps, which must be stage.steps times stage.steps_in_one: "
                f"set stage.steps={distilled.steps // 2}, stage.steps_in_one=2 and the stage.spacing of the teacher"
            )
