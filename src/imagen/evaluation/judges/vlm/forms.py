"""Which tokens count as an answer."""

from collections.abc import Sequence
from typing import Any

from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import Question

DIGITS = {
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}


def one_token(tokenizer: Any, answer: str) -> int:
    """The token of `answer`.

    Raises:
        UserError: unless the tokenizer makes exactly one known token of it; names the tokens.
    """
    tokens = _tokens(tokenizer, answer)
    if not _is_one(tokenizer, tokens):
        names = tokenizer.convert_ids_to_tokens(tokens)
        raise UserError(
            f"metrics.judges: answer={answer!r:.60} is {len(tokens)} tokens of this model, {names!r:.120}; give an "
            "answer that is exactly one token that it knows, such as Yes or yes"
        )
    return tokens[0]


def accepted_tokens(tokenizer: Any, question: Question) -> list[int]:
    """The tokens that count as the right answer to a question, as in GenEval 2's code: the answer in lower case and
    with a capital, of a number also its digits, each with and without a space before. Each token counts once.

    GenEval 2 takes the first token of every form. Here a form counts only if it is one token, because the first piece
    of a longer one (a lone space before a digit, "se" of "seven") also begins wrong answers.

    Raises:
        UserError: if no form is exactly one token; names the tokens of the answer.
    """
    forms = _forms(question.answer)
    tokens = [_tokens(tokenizer, form) for form in forms]
    single = [one[0] for one in tokens if _is_one(tokenizer, one)]
    if not single:
        names = [tokenizer.convert_ids_to_tokens(one) for one in tokens[:1]]
        raise UserError(
            f"question {question.text!r:.120}: no form of its answer {question.answer!r:.60} is one token that this "
            f"model knows ({names!r:.120}); take another model"
        )
    return list(dict.fromkeys(single))


def _forms(answer: str) -> Sequence[str]:
    plain = answer.strip().lower()
    words = [plain, plain.capitalize(), *([DIGITS[plain]] if plain in DIGITS else [])]
    return [space + word for word in words for space in ("", " ")]


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _is_one(tokenizer: Any, tokens: Sequence[int]) -> bool:
    return len(tokens) == 1 and tokens[0] != tokenizer.unk_token_id
