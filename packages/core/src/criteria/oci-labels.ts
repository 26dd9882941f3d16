import { isBlank, malformedLabels } from "../image/label-format.js"
import { clipText } from "../json-differences.js"
import { defineStaticCriterion, fail, type JudgedPart, pass } from "./criterion.js"
import { including } from "./threshold.js"

const PREFIX = "org.opencontainers.image."

export const ociLabels = defineStaticCriterion({
  id: "oci-labels",
  name: "labels",
  revision: 2,
  requirement: "Every required OCI label is present and not empty, and every OCI label has its form.",
  upstream: ["static.oci_labels"],
  schema: "OciLabelsObservation",
  restsOn: ["image-config"],
  thresholds: {
    required: including(
      ["title", "description", "version", "licenses", "source"].map(name => `${PREFIX}${name}`),
      {
        unit: "label names",
        reason:
          "The RFC names no labels. These are the pre-defined keys of image-spec 1.1 that say what an image is, under which terms, and where it comes from.",
      },
    ),
  },
  inspect: ({ image }) => ({ labels: { ...image.config.labels } }),
  judge({ labels }, { required }) {
    const absent = required.filter(key => !Object.hasOwn(labels, key) || isBlank(labels[key] ?? ""))
    const malformed = malformedLabels(labels)
    const parts = [
      ...absent.map(key => lacking(key, Object.hasOwn(labels, key))),
      ...malformed.map(({ label, why }) => misshapen(label, labels[label] ?? "", why)),
    ]
    const unchecked = revisionPart(labels)
    if (parts.length === 0)
      return pass(`all ${required.length} required labels are set, each in its form`, {
        observed: { labels },
        parts: unchecked,
      })
    const seen = [
      ...(absent.length > 0 ? [`missing or empty: ${absent.join(", ")}`] : []),
      ...malformed.map(({ label, why }) => `${label} is ${why}`),
    ]
    return fail(seen.join("; "), absent.length > 0 ? labelRemedy(absent) : (parts[0]?.remedy ?? ""), {
      observed: { labels },
      parts: absent.length > 0 && malformed.length === 0 ? unchecked : [...parts, ...unchecked],
    })
  },
})

const labelRemedy = (labels: readonly string[]): string =>
  `add to the Dockerfile's final stage: LABEL ${labels.map(key => `${key}="…"`).join(" ")}`

const lacking = (label: string, isThere: boolean): JudgedPart => ({
  id: "missing",
  outcome: "fail",
  because: `${label} is ${isThere ? "empty" : "missing"}`,
  remedy: labelRemedy([label]),
  where: null,
})

const SHOWN_CHARACTERS = 200

const misshapen = (label: string, value: string, why: string): JudgedPart => ({
  id: "malformed",
  outcome: "fail",
  because: `${label}="${clipText(value, SHOWN_CHARACTERS)}" is ${why}`,
  remedy: `set it in its form, such as LABEL ${label}="${EXAMPLES[label.slice(PREFIX.length)] ?? "…"}"`,
  where: null,
})

const EXAMPLES: Readonly<Record<string, string>> = {
  created: "2026-01-31T12:00:00Z",
  licenses: "Apache-2.0 OR MIT",
  url: "https://example.com/environment",
  source: "https://github.com/owner/environment",
  documentation: "https://example.com/environment/docs",
  "base.digest": "sha256:… (64 hexadecimal digits)",
}

// What the label claims is not known to be so: a bundle names no commit that it could be compared with.
function revisionPart(labels: Readonly<Record<string, string>>): JudgedPart[] {
  const label = `${PREFIX}revision`
  if (!Object.hasOwn(labels, label)) return []
  const because = `${label} is not compared with the source: a bundle names no commit`
  return [{ id: "revision", outcome: "unmeasured", because, remedy: "", where: null }]
}
