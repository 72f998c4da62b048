process NEURONEDIT_CORRECT {
    tag "${meta.id}"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "neuronedit:0.1.0"
    // the entry point of the image is neuronedit itself, and Nextflow starts a shell
    containerOptions "${workflow.containerEngine in ['docker', 'podman'] ? '--entrypoint=' : ''}"

    input:
    tuple val(meta), path(fcs, stageAs: 'fcs/*'), path(metadata), path(panel)
    val batch_key
    val control_key

    output:
    tuple val(meta), path("${prefix}/*.fcs*"), emit: fcs
    tuple val(meta), path("${prefix}/neuronedit.yaml"), emit: config
    tuple val(meta), path("${prefix}.json"), emit: json
    tuple val(meta), path("${prefix}.safetensors"), emit: model
    tuple val("${task.process}"), val('neuronedit'), eval("neuronedit --version | sed 's/neuronedit //'"), emit: versions_neuronedit, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    if ("${prefix}" == 'fcs') {
        error("The output would be in the folder of the input, fcs: set another ext.prefix for NEURONEDIT_CORRECT.")
    }
    // exit codes 3 and 4: done, and the verdict, which is in the JSON file, says what to look at
    """
    neuronedit correct \\
        fcs \\
        --metadata ${metadata} \\
        --panel ${panel} \\
        --batch-key '${batch_key}' \\
        --control-key '${control_key}' \\
        --save-model ${prefix}.safetensors \\
        --threads ${task.cpus} \\
        --json \\
        ${args} \\
        --output ${prefix}/ \\
        > ${prefix}.json \\
        || { code=\$?; case \$code in 3|4) ;; *) exit \$code ;; esac; }
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir ${prefix}
    for file in fcs/*; do
        touch "${prefix}/\$(basename "\$file")"
    done
    touch ${prefix}/neuronedit.yaml ${prefix}.json ${prefix}.safetensors
    """
}
