"""Knowledge distillation in Keras: one overridden `compute_loss` (Hinton, Vinyals and Dean 2015)."""

import keras
from keras import ops

UNLABELLED = -1
"""As a label: this row has none, only the teacher's answer counts."""


def kd_loss(
    student_logits: keras.KerasTensor,
    teacher_logits: keras.KerasTensor,
    labels: keras.KerasTensor,
    temperature: float,
    alpha: float,
    sample_weight: keras.KerasTensor | None = None,
) -> keras.KerasTensor:
    """Return the distillation loss of a batch, as `workbook.methods.torch.distillation.kd_loss` defines it.

    L = α T² KL(p_t ‖ p_s) + (1 − α) CE(y, softmax(z_s)), with p_t = softmax(z_t / T), p_s = softmax(z_s / T). Both
    terms are means over all rows; a row without a label adds 0 to the second. Weights multiply the rows' losses and
    leave the number of rows alone, as in Keras's own losses.

    Args:
        student_logits: z_s, ``(n, classes)``.
        teacher_logits: z_t, ``(n, classes)``; no gradient flows into them.
        labels: integers ``(n,)``, `UNLABELLED` where a row has none.
        temperature: T > 0.
        alpha: α, the share of the soft term, between 0 and 1.
        sample_weight: ``(n,)``; 1 for every row unless given.

    Raises:
        ValueError: the shapes differ, T is not positive or α is outside [0, 1].
    """
    student_logits, teacher_logits = map(ops.convert_to_tensor, (student_logits, teacher_logits))
    if tuple(student_logits.shape[1:]) != tuple(teacher_logits.shape[1:]):
        raise ValueError(
            f"student logits {tuple(student_logits.shape)} and teacher logits {tuple(teacher_logits.shape)}: "
            "expected the same classes"
        )
    if temperature <= 0 or not 0 <= alpha <= 1:
        raise ValueError(f"temperature={temperature}, alpha={alpha}: expected T > 0 and alpha between 0 and 1")
    teacher_log = ops.log_softmax(ops.stop_gradient(teacher_logits) / temperature, axis=-1)
    student_log = ops.log_softmax(student_logits / temperature, axis=-1)
    soft = ops.sum(ops.exp(teacher_log) * (teacher_log - student_log), axis=-1)
    known = ops.cast(ops.not_equal(labels, UNLABELLED), soft.dtype)
    answers = ops.maximum(ops.cast(labels, "int32"), 0)
    hard = known * keras.losses.sparse_categorical_crossentropy(answers, student_logits, from_logits=True)
    if sample_weight is not None:
        weights = ops.cast(sample_weight, soft.dtype)
        soft, hard = weights * soft, weights * hard
    return ops.mean(alpha * temperature**2 * soft + (1 - alpha) * hard)


class Distiller(keras.Model):
    """A student that is trained on labels and on a teacher's answers. Compile it without a loss, save the *student*.

    The teacher is asked with ``training=False``, kept out of the weights that train, and not counted or saved with
    the distiller: Keras tracks every layer and model that is an attribute, so the teacher stands in a closure.

    Args:
        student: maps images to logits ``(n, classes)``; trained in place.
        teacher: likewise; never changed, whatever its ``trainable`` says.
        temperature, alpha: see `kd_loss`.

    Raises:
        ValueError: student and teacher have different outputs.
    """

    def __init__(self, student: keras.Model, teacher: keras.Model, *, temperature: float = 4.0, alpha: float = 0.9):
        super().__init__(name="distiller")
        if student.output_shape != teacher.output_shape:
            raise ValueError(
                f"student gives {student.output_shape} and teacher {teacher.output_shape}: expected the same classes"
            )
        self.student = student
        self.temperature, self.alpha = temperature, alpha
        self._ask = lambda images: teacher(images, training=False)

    def call(self, images, training=None):
        """Return the student's logits."""
        return self.student(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return `kd_loss` and the student's penalties, in ``fit`` and ``evaluate``; ``compile``'s loss is not used."""
        loss = kd_loss(y_pred, self._ask(x), y, self.temperature, self.alpha, sample_weight)
        return loss + sum(self.losses)
