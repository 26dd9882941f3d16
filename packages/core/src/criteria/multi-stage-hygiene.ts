import { pathInRoot } from "../image/inventory.js"
import { isWhiteout, Overlay } from "../image/overlay.js"
import { ResidueFinder } from "../image/residue.js"
import { statedInstruction, statedPath } from "../image/shipped-file.js"
import type { ImageView } from "../image/view.js"
import {
  countOf,
  defineStaticCriterion,
  type FactsOf,
  fail,
  type JudgedPart,
  pass,
  shortInstruction,
} from "./criterion.js"
import { sortOut } from "./exception.js"
import { atMost } from "./threshold.js"

type Facts = FactsOf<"MultiStageHygieneObservation">
type Residue = Facts["residues"][number]

const LISTED = 500

export const multiStageHygiene = defineStaticCriterion({
  id: "multi-stage-hygiene",
  name: "hygiene",
  revision: 2,
  requirement: "No build tools, version-control folders, fixtures, caches or credentials are in the final image.",
  upstream: ["static.image_hygiene"],
  schema: "MultiStageHygieneObservation",
  restsOn: ["image-layers"],
  thresholds: {
    residues: atMost(0, {
      unit: "files or folders",
      reason:
        "The RFC says: no build tools, .git, or fixtures appear. An image that needs one (a compiler, for a coding environment) gets an exception in the maintainer's policy.",
    }),
  },
  takesExceptions: true,
  inspect: ({ image }) => findResidues(image),
  judge({ layers, entries, residues, omitted }, thresholds, _context, exceptions) {
    const sorted = sortOut(residues, exceptions, residue => [residue])
    const { counted } = sorted
    const count = counted.length + omitted
    const bytes = counted.reduce((sum, residue) => sum + residue.bytes, 0)
    const observed = { layers, entries, residues: count, bytes, ...sorted.observed }
    const excepted = sorted.excepted.map(({ item, because }) => exceptedPart(item, because))
    const spared = excepted.length === 0 ? "" : ` but for ${countOf(excepted.length, "exception")} of the policy`
    if (count <= thresholds.residues)
      return pass(`no residue among ${entries} entries of ${layers} layers${spared}`, { observed, parts: excepted })
    const parts = counted.map(describe)
    const first = counted.slice(0, 3).map(({ layer, path }) => `layer ${layer} ${path}`)
    const more = count > first.length ? ` and ${count - first.length} more` : ""
    return fail(
      `${countOf(count, "residue")}, ${countOf(bytes, "byte")}: ${first.join(", ")}${more}`,
      parts[0]?.remedy ?? "",
      { observed, parts: [...parts, ...excepted] },
    )
  },
})

function findResidues(image: ImageView): Facts {
  const overlay = new Overlay(image.layers)
  const finder = new ResidueFinder()
  const found = new Map<string, Residue>()
  let entries = 0
  for (const [layer, { entries: rows, instruction }] of image.layers.entries()) {
    for (const entry of rows) {
      entries++
      const path = pathInRoot(entry)
      // A whiteout is empty; one that carries bytes ships them.
      const residue = isWhiteout(path) && entry.size === 0 ? undefined : finder.residueOf(entry, path)
      if (residue === undefined) continue
      const key = JSON.stringify([layer, residue.kind, residue.path])
      const known = found.get(key)
      // A folder counts as deleted later only if all that was found in it is.
      const hidden = (known?.hidden ?? true) && overlay.hides(layer, path)
      found.set(key, {
        kind: residue.kind,
        path: known?.path ?? statedPath(residue.path),
        layer,
        files: (known?.files ?? 0) + 1,
        bytes: (known?.bytes ?? 0) + entry.size,
        sha256: residue.path === path ? (entry.sha256 ?? null) : null,
        hidden,
        instruction: known === undefined ? statedInstruction(instruction) : known.instruction,
      })
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

const whereOf = ({ layer, path, instruction }: Residue) => ({ layer, path, instruction, line: null })

function describe(residue: Residue): JudgedPart {
  return {
    id: residue.kind,
    outcome: "fail",
    because: saySeen(residue),
    remedy: remedyOf(residue),
    where: whereOf(residue),
  }
}

function remedyOf({ kind, hidden }: Residue): string {
  if (!hidden) return REMEDY[kind]
  const early =
    "delete it in the instruction that makes it, or make it in a stage that is not shipped: a later RUN rm frees nothing"
  // Whoever pulled the image has it.
  if (kind === "private-key") return `${early}; replace the key`
  const isSecret = kind === "credentials" || kind === "cloud-credentials" || kind === "env-file"
  return isSecret ? `${early}; revoke what it grants` : early
}

const exceptedPart = (residue: Residue, because: string): JudgedPart => ({
  id: residue.kind,
  outcome: "pass",
  because: `${saySeen(residue)}: ${because}`,
  remedy: "",
  where: whereOf(residue),
})

function saySeen({ kind, path, layer, files, bytes, hidden, instruction }: Residue): string {
  const many = files === 1 ? "" : `, ${files} files`
  const deleted = hidden ? ", deleted later but still shipped" : ""
  const by = instruction === null ? "" : `, by ${shortInstruction(instruction)}`
  return `layer ${layer} ${path}: ${kind}${many}, ${countOf(bytes, "byte")}${deleted}${by}`
}

const ignore = (what: string) => `add ${what} to .dockerignore, or COPY only what runs`
const revoke = "remove it, revoke what it grants, and mount secrets at run time"

const REMEDY: Readonly<Record<Residue["kind"], string>> = {
  "build-tool": "build in an earlier stage and COPY --from it only what runs",
  vcs: ignore("the version-control folder"),
  fixture: ignore("tests and fixtures"),
  "package-cache": "clean the cache in the same RUN that fills it, or mount it: RUN --mount=type=cache",
  header: "install -dev packages in an earlier stage only, or start from a base image without headers",
  "static-library": "install -dev packages in an earlier stage only",
  "object-file": "build in an earlier stage and COPY --from it only what runs",
  "build-package": "install build packages in an earlier stage only",
  "build-metadata": "install -dev packages in an earlier stage only: pkg-config and CMake files serve building alone",
  "editor-folder": ignore("the editor's folder"),
  "tool-cache": ignore("caches of linters and test runners"),
  "cloud-credentials": revoke,
  credentials: `${revoke}: RUN --mount=type=secret while building`,
  "private-key": "remove it, replace the key, and mount secrets at run time: RUN --mount=type=secret",
  "env-file": "remove it, replace what it holds, and pass the environment at run time",
}
