"""Run ``neuronedit correct``. Exit codes 3 and 4 mean done: the verdict, in the JSON file, says what to look at."""

import shlex

from snakemake.shell import shell

inputs, output, params = snakemake.input, snakemake.output, snakemake.params  # noqa: F821
threads = snakemake.threads  # noqa: F821
log = snakemake.log_fmt_shell(stdout=False, stderr=True)  # noqa: F821
extra = params.get("extra", "")
model = output.get("model")
save_model = f"--save-model {shlex.quote(model)}" if model else ""

shell(
    "neuronedit correct {inputs.fcs:q}"
    " --metadata {inputs.metadata:q} --panel {inputs.panel:q}"
    " --batch-key {params.batch_key:q} --control-key {params.control_key:q}"
    " --threads {threads} --json {save_model} {extra}"
    " --output {output.fcs:q}/ > {output.json:q} {log}"
    " || {{ code=$?; case $code in 3|4) ;; *) exit $code ;; esac; }}"
)
