import { pathInRoot } from "../image/inventory.js"
import { isWhiteout, Overlay } from "../image/overlay.js"
import { residueOf } from "../image/residue.js"
import type { ImageView } from "../image/view.js"
import { clipText } from "../json-differences.js"
import {
  countOf,
  defineStaticCriterion,
  type FactsOf,
  fail,
  type JudgedPart,
  pass,
  shortInstruction,
} from "./criterion.js"
import { atMost } from "./threshold.js"

type Facts = FactsOf<"MultiStageHygieneObservation">
type Residue = Facts["residues"][number]

const LISTED = 500
const INSTRUCTION_CHARACTERS = 4096

export const multiStageHygiene = defineStaticCriterion({
  id: "multi-stage-hygiene",
  name: "hygiene",
  revision: 1,
  requirement: "No build tools, version-control folders, fixtures, caches or credentials are in the final image.",
  upstream: ["static.image_hygiene"],
  schema: "MultiStageHygieneObservation",
  restsOn: ["image-layers"],
  thresholds: {
    residues: atMost(0, {
      unit: "files or folders",
      reason: "The RFC says: no build tools, .git, or fixtures appear.",
    }),
  },
  inspect: ({ image }) => findResidues(image),
  judge({ layers, entries, residues, omitted }, thresholds) {
    const count = residues.length + omitted
    const bytes = residues.reduce((sum, residue) => sum + residue.bytes, 0)
    const observed = { layers, entries, residues: count, bytes }
    if (count <= thresholds.residues)
      return pass(`no residue among ${entries} entries of ${layers} layers`, { observed })
    const parts = residues.map(describe)
    const first = residues.slice(0, 3).map(({ layer, path }) => `layer ${layer} ${path}`)
    const more = count > first.length ? ` and ${count - first.length} more` : ""
    return fail(
      `${countOf(count, "residue")}, ${countOf(bytes, "byte")}: ${first.join(", ")}${more}`,
      parts[0]?.remedy ?? "",
      {
        observed,
        parts,
      },
    )
  },
})

function findResidues(image: ImageView): Facts {
  const overlay = new Overlay(image.layers)
  const found = new Map<string, Residue>()
  let entries = 0
  for (const [layer, { entries: rows, instruction }] of image.layers.entries()) {
    for (const entry of rows) {
      entries++
      const path = pathInRoot(entry)
      const residue = isWhiteout(path) ? undefined : residueOf(entry, path)
      if (residue === undefined) continue
      const key = JSON.stringify([layer, residue.kind, residue.path])
      // Bytes that are not UTF-8 cannot stand in JSON: U+FFFD does for people.
      const known = found.get(key) ?? {
        kind: residue.kind,
        path: residue.path.toWellFormed(),
        layer,
        files: 0,
        bytes: 0,
        hidden: true,
        // A RUN may be of any length; the document's field is not.
        instruction: instruction === null ? null : clipText(instruction, INSTRUCTION_CHARACTERS),
      }
      // A folder counts as deleted later only if all that was found in it is.
      const hidden = known.hidden && overlay.hides(layer, path)
      found.set(key, { ...known, files: known.files + 1, bytes: known.bytes + entry.size, hidden })
    }
  }
  const residues = [...found.values()].sort(
    (a, b) => b.bytes - a.bytes || a.layer - b.layer || (a.path < b.path ? -1 : 1),
  )
  return {
    layers: image.layers.length,
    entries,
    residues: residues.slice(0, LISTED),
    omitted: Math.max(0, residues.length - LISTED),
  }
}

function describe(residue: Residue): JudgedPart {
  const files = residue.files === 1 ? "" : `, ${residue.files} files`
  const hidden = residue.hidden ? ", deleted later but still shipped" : ""
  const by = residue.instruction === null ? "" : `, by ${shortInstruction(residue.instruction)}`
  return {
    id: residue.kind,
    outcome: "fail",
    because: `layer ${residue.layer} ${residue.path}: ${residue.kind}${files}, ${countOf(residue.bytes, "byte")}${hidden}${by}`,
    remedy: residue.hidden
      ? "delete it in the instruction that makes it, or make it in a stage that is not shipped: a later RUN rm frees nothing"
      : REMEDY[residue.kind],
    where: { layer: residue.layer, path: residue.path, instruction: residue.instruction, line: null },
  }
}

const ignore = (what: string) => `add ${what} to .dockerignore, or COPY only what runs`

const REMEDY: Readonly<Record<Residue["kind"], string>> = {
  "build-tool": "build in an earlier stage and COPY --from it only what runs",
  vcs: ignore("the version-control folder"),
  fixture: ignore("tests and fixtures"),
  "package-cache": "clean the cache in the same RUN that fills it, or mount it: RUN --mount=type=cache",
  header: "install -dev packages in an earlier stage only",
  "static-library": "install -dev packages in an earlier stage only",
  "object-file": "build in an earlier stage and COPY --from it only what runs",
  "build-package": "install build packages in an earlier stage only",
  "editor-folder": ignore("the editor's folder"),
  "cloud-credentials": "remove it, revoke what it grants, and mount secrets at run time",
  "private-key": "remove it, replace the key, and mount secrets at run time: RUN --mount=type=secret",
  "env-file": "remove it, replace what it holds, and pass the environment at run time",
}
