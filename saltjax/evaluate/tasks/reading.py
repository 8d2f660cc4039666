"""What XQuAD, MLQA and TyDiQA-GoldP share: a passage, a question about it, and an answer out of it.

    Kontext: ...  (empty line)  Frage: ...  (empty line)  Antwort:

The words are those of lm-evaluation-harness' XQuAD and TyDiQA tasks in the passage's language (its Arabic XQuAD has a
word cut short; here it is whole). The answer ends with the line, or where the words would begin anew.
"""

from collections.abc import Callable
from typing import Any

from saltjax.errors import UserError
from saltjax.evaluate.sets import Rows
from saltjax.evaluate.task import Question, Scores, Task

MAX_NEW = 64  # tokens; ours: lm-evaluation-harness' 256 are needed by no answer

WORDS = {
    "ar": ("السياق", "السؤال", "الإجابة"),
    "bn": ("প্রসঙ্গ", "প্রশ্ন", "উত্তর"),
    "de": ("Kontext", "Frage", "Antwort"),
    "el": ("Συμφραζόμενα", "Ερώτηση", "Απάντηση"),
    "en": ("Context", "Question", "Answer"),
    "es": ("Contexto", "Pregunta", "Respuesta"),
    "fi": ("Konteksti", "Kysymys", "Vastaus"),
    "hi": ("प्रसंग", "सवाल", "उत्तर"),
    "id": ("Konteks", "Pertanyaan", "Jawaban"),
    "ko": ("문맥", "질문", "답변"),
    "ro": ("Context", "Întrebare", "Răspuns"),
    "ru": ("Контекст", "Вопрос", "Ответ"),
    "sw": ("Muktadha", "Swali", "Jibu"),
    "te": ("సందర్భం", "ప్రశ్న", "సమాధానం"),
    "th": ("บริบท", "คำถาม", "คำตอบ"),
    "tr": ("Bağlam", "Soru", "Cevap"),
    "vi": ("Bối cảnh", "Câu hỏi", "Trả lời"),
    "zh": ("语境", "问题", "回答"),
}


def reading(name: str, language: str, rows: Rows, score: Callable[[Question, Any], Scores]) -> Task:
    """The task of SQuAD-like rows whose passages and answers are in `language`."""
    context, ask, reply = WORDS[language]
    questions = []
    for where, row in rows:
        try:
            answers = tuple(row["answers"]["text"])
            prompt = f"{context}: {row['context']}\n\n{ask}: {row['question']}\n\n{reply}:"
            questions.append(
                Question(str(row["id"]), prompt, gold=answers, answer=answers[0], passage=str(row["context"]))
            )
        except (KeyError, IndexError, TypeError) as error:
            raise UserError(f"{where}: not a question with answers ({type(error).__name__}: {error})") from None
    if not any(answer for question in questions for answer in question.gold):
        raise UserError(f"{name}: {rows.source} has questions without their answers; give a copy that has them")
    stops = ("\n", f"{context}:", f"{ask}:")
    return Task(name, tuple(questions), score, rows.source, stops=stops, max_new=MAX_NEW)
