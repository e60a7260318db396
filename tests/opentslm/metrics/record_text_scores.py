"""Record what sacreBLEU and Google's rouge_score say of a few texts: ``text_scores.json`` beside this file.

pip install sacrebleu==2.6.0 rouge-score==0.1.2, then python tests/metrics/record_text_scores.py.
"""

import json
from pathlib import Path

PAIRS = [
    ("The series rises from 3.5 to 12.25, then falls.", "The series rises slowly from 3.5 to 12.25 and then falls."),
    ("A daily cycle of 24 hours, with peaks in the after-noon.", "A daily cycle with 24-hour period; peaks at noon."),
    ("It's flat.", "It is flat &amp; quiet."),
    ("identical text stays identical", "identical text stays identical"),
    ("Nothing in common here", "wholly other words"),
    ("", "an empty prediction"),
    ("the the the the the the the", "The cat is on the mat."),
    ("Volatility (std 0.5) doubles\nnear the end; a level-\nshift of $1,000.", "Volatility doubles near the end."),
]
CORPORA = {
    "all": list(range(8)),
    "first": [0],
    "no 4-gram": [1, 2],
    "two": [0, 3],
    "nothing": [4],
    "short": [2],
    "words only": [6],
}


def main() -> None:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import corpus_bleu

    names = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}
    scorer = RougeScorer(list(names))
    rouge = [
        {names[key]: score.fmeasure for key, score in scorer.score(reference, text).items()}
        for text, reference in PAIRS
    ]
    bleu = {
        name: corpus_bleu([PAIRS[i][0] for i in rows], [[PAIRS[i][1] for i in rows]]).score / 100
        for name, rows in CORPORA.items()
    }
    recorded = {"pairs": PAIRS, "rouge": rouge, "corpora": CORPORA, "bleu": bleu}
    Path(__file__).with_name("text_scores.json").write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
