"""The command with the shipped cascade, its judges, and a vision-language model beside them."""

import json

from imagen.app.evaluate import evaluate

FEW = [
    "sampler.num_steps=1", "sr_sampler.num_steps=1", "cascade.device=cpu", "cascade=fast", "guidance.weights=[1,3]",
    "block_size=2", "metrics.reference.count=8", "grid_prompts=1", "strips.prompts=0", "~metrics.judges.b",
]  # fmt: skip
SKILLS = {"count": ["How many circles are in the image?", "two"], "object": ["Is there a circle?", "Yes"]}


def test_the_command_gives_vqascore_and_soft_tifa_of_the_questions_of_geneval2(compose_config, llava, tmp_path):
    lines = [
        {"prompt": text, "atom_count": 3, "vqa_list": list(SKILLS.values()), "skills": list(SKILLS)}
        for text in ("two red circles", "a green circle above a blue square", "two squares")
    ]
    (tmp_path / "geneval2_data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    vlm = ["metrics/vlm=folder", f"metrics.judges.vlm.path={llava}", "metrics.judges.vlm.device=cpu"]
    prompts = ["prompts=geneval2", f"prompts.path={tmp_path / 'geneval2_data.jsonl'}"]
    evaluate(compose_config("evaluate", *FEW, *vlm, *prompts, f"out={tmp_path / 'out'}"))
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    for cell in written["cells"]:
        for key in ("vqa[vlm]", "soft_tifa_am[vlm]", "soft_tifa_gm[vlm]"):
            assert 0 < cell["metrics"][key] < 1
            assert cell["intervals"][key]["low"] < cell["metrics"][key] < cell["intervals"][key]["high"]
        assert cell["metrics"]["soft_tifa_gm[vlm]"] < cell["metrics"]["soft_tifa_am[vlm]"]
        assert cell["by_category"].keys() == {"3 atoms", *SKILLS}
    first, second = (cell["metrics"]["vqa[vlm]"] for cell in written["cells"])
    assert first != second
    assert written["judges"]["vlm"]["prompt"] == 'Does this figure show "{caption}"? Please answer yes or no.'
    assert len(written["prompts"]["sha256"]) == 64
    assert (tmp_path / "out" / "pareto.png").is_file()
    found = (tmp_path / "out" / "report.md").read_text()
    assert "VQAScore is highest" in found
    assert "vQAScore" not in found
