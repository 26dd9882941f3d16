import { isVisible } from "../report/escape.js"
import { defineStaticCriterion, fail, pass } from "./criterion.js"
import { including } from "./threshold.js"

export const ociLabels = defineStaticCriterion({
  id: "oci-labels",
  name: "labels",
  revision: 1,
  requirement: "Every required OCI label is present and not empty.",
  upstream: ["static.oci_labels"],
  schema: "OciLabelsObservation",
  restsOn: ["image-config"],
  thresholds: {
    required: including(
      ["title", "description", "version", "licenses", "source"].map(name => `org.opencontainers.image.${name}`),
      {
        unit: "label names",
        reason:
          "The RFC names no labels. These are the pre-defined keys of image-spec 1.1 that say what an image is, under which terms, and where it comes from.",
      },
    ),
  },
  inspect: ({ image }) => ({ labels: { ...image.config.labels } }),
  judge({ labels }, { required }) {
    const absent = required.filter(key => !Object.hasOwn(labels, key) || !isVisible(labels[key] ?? ""))
    if (absent.length === 0) return pass(`all ${required.length} required labels are set`, { observed: { labels } })
    return fail(`missing or empty: ${absent.join(", ")}`, labelRemedy(absent), { observed: { labels } })
  },
})

const labelRemedy = (absent: readonly string[]): string =>
  `add to the Dockerfile's final stage: LABEL ${absent.map(key => `${key}="…"`).join(" ")}`
