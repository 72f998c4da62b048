"""Correct the batches of Open Problems' task of cytometry batch integration by their controls."""

import anndata as ad

import neuronedit as ne

## VIASH START
par = {
    "input": "censored_split1.h5ad",
    "output": "integrated_split1.h5ad",
    "goal_batch": None,
    "edit": "auto",
    "seed": 0,
}
meta = {"name": "neuronedit"}
## VIASH END

print("Read input", flush=True)
adata = ad.read_h5ad(par["input"])
adata.X = adata.layers["preprocessed"].astype("float32")
adata.obs["batch"] = adata.obs["batch"].astype(str)
adata.obs["role"] = ["control" if number > 0 else "sample" for number in adata.obs["is_control"]]
adata.var["used"] = adata.var["to_correct"].to_numpy(dtype=bool)  # the others are left as they are

print("Correct", flush=True)
goal = par["goal_batch"] or adata.uns.get("goal_batch")
ne.tl.train(adata, rng=par["seed"], progress_bar=False)
ne.tl.correct(
    adata,
    "batch",
    control_key="role",
    reference=None if goal is None else str(goal),
    sample_key="sample",
    edit=par["edit"],
    rng=par["seed"],
    progress_bar=False,
)
print(adata.uns["corrected"]["verdict"], flush=True)

print("Write output", flush=True)
samples = (adata.obs["is_control"] == 0).to_numpy()
ad.AnnData(
    obs=adata.obs.loc[samples, []],
    var=adata.var[[]],
    layers={"integrated": adata.layers["corrected"][samples].astype("float64")},
    uns={"dataset_id": adata.uns["dataset_id"], "method_id": meta["name"], "parameters": {"edit": par["edit"]}},
).write_h5ad(par["output"], compression="gzip")
