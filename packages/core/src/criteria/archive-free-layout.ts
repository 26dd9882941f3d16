import { isArchive, layoutKind } from "../image/archive-kind.js"
import { shippedFiles } from "../image/shipped-file.js"
import type { ImageView, InventoryEntry } from "../image/view.js"
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

type Facts = FactsOf<"ArchiveFreeLayoutObservation">
type File = Facts["archives"][number]

const LISTED = 200
const MIB = 1_048_576

export const archiveFreeLayout = defineStaticCriterion({
  id: "archive-free-layout",
  name: "layout",
  revision: 1,
  requirement: "No archive above the threshold and no single oversize file is in the image.",
  upstream: ["static.layout"],
  schema: "ArchiveFreeLayoutObservation",
  restsOn: ["image-layers"],
  thresholds: {
    archiveBytes: atMost(16 * MIB, {
      initial: 4 * MIB,
      unit: "bytes of one archive",
      reason:
        "Ours: the RFC gives no number. A lazy puller fetches eStargz by chunks of 4 MiB unless told otherwise: an archive of one chunk costs what any file costs, a larger one must come whole before any of it is of use. The bound is four chunks.",
    }),
    archivesBytes: atMost(64 * MIB, {
      initial: 16 * MIB,
      unit: "bytes of all archives together",
      reason:
        "Ours: a thousand small wheels are what one large archive is. Documentation and test data that packages bring compressed stay far below 16 MiB.",
    }),
    fileBytes: atMost(1024 * MIB, {
      initial: 128 * MIB,
      unit: "bytes of one file of any kind",
      reason:
        "Ours: the RFC gives no number. One change of one byte in a file ships all of it again. 128 MiB leaves room for the largest usual runtime, Node.js, which is one executable of about 120 MB.",
    }),
  },
  takesExceptions: true,
  inspect: ({ image }) => inspectLayout(image),
  judge(facts, limits, _context, exceptions) {
    const files = [...facts.archives, ...facts.largest.filter(({ kind }) => !isArchive(kind))]
    const { counted, excepted, observed: spared } = sortOut(files, exceptions, file => [file])
    const archives = counted.filter(({ kind }) => isArchive(kind))
    const sparedBytes = excepted.reduce((sum, { item }) => sum + (isArchive(item.kind) ? item.bytes : 0), 0)
    const archiveBytes = facts.archiveBytes - sparedBytes
    const large = archives.filter(({ bytes }) => bytes > limits.archiveBytes)
    const oversize = counted.filter(({ kind, bytes }) => !isArchive(kind) && bytes > limits.fileBytes)
    const isTooMuch = archiveBytes > limits.archivesBytes
    const { layers, entries, archiveFiles } = facts
    const observed = { layers, entries, archiveFiles, archiveBytes, ...spared }
    const seen = [
      ...(large.length > 0 ? [`${countOf(large.length, "archive")} above ${limits.archiveBytes} bytes`] : []),
      ...(isTooMuch ? [`archives of ${archiveBytes} bytes in all, above ${limits.archivesBytes}`] : []),
      ...(oversize.length > 0 ? [`${countOf(oversize.length, "file")} above ${limits.fileBytes} bytes`] : []),
      ...(hasUnlisted(facts, limits) ? [`more files above the thresholds than the ${LISTED} listed`] : []),
    ]
    const exceptedParts = excepted.map(({ item, because }) => describe(item, because))
    if (seen.length === 0)
      return pass(
        `${countOf(archiveFiles, "archive")} of ${countOf(archiveBytes, "byte")} in all; the largest file has ${countOf(facts.largest[0]?.bytes ?? 0, "byte")}`,
        { observed, parts: exceptedParts },
      )
    const named = [...(isTooMuch ? archives : large), ...oversize]
    const first = named.slice(0, 3).map(({ layer, path }) => `layer ${layer} ${path}`)
    const parts = named.map(file => describe(file))
    return fail([seen.join("; "), ...first].join(", "), parts[0]?.remedy ?? "", {
      observed,
      parts: [...parts, ...exceptedParts],
    })
  },
})

// What is not listed is smaller than what is: only where all that is listed is spared could it hide.
function hasUnlisted(facts: Facts, { archiveBytes, fileBytes }: { archiveBytes: number; fileBytes: number }): boolean {
  const isFull = (files: readonly File[], bytes: number) =>
    files.length === LISTED && (files.at(-1)?.bytes ?? 0) > bytes
  return isFull(facts.archives, archiveBytes) || isFull(facts.largest, fileBytes)
}

interface Candidate {
  readonly layer: number
  readonly entry: InventoryEntry
  readonly kind: File["kind"]
}

function inspectLayout(image: ImageView): Facts {
  const files: Candidate[] = []
  let entries = 0
  for (const [layer, { entries: rows }] of image.layers.entries())
    for (const entry of rows) {
      entries++
      if (entry.content !== undefined && entry.size > 0) files.push({ layer, entry, kind: entry.content })
    }
  const bySize = files.sort((a, b) => b.entry.size - a.entry.size)
  const archives = bySize.filter(({ kind }) => isArchive(kind))
  const state = shippedFiles(image)
  const list = (candidates: readonly Candidate[]): File[] =>
    candidates.slice(0, LISTED).map(({ layer, entry, kind }) => ({ ...state(layer, entry), kind }))
  return {
    layers: image.layers.length,
    entries,
    archiveFiles: archives.length,
    archiveBytes: archives.reduce((sum, { entry }) => sum + entry.size, 0),
    archives: list(archives),
    largest: list(bySize),
  }
}

function describe(file: File, excepted?: string): JudgedPart {
  const { kind, layer, path, bytes, hidden, instruction } = file
  const deleted = hidden ? ", deleted later but still shipped" : ""
  const by = instruction === null ? "" : `, by ${shortInstruction(instruction)}`
  const seen = `layer ${layer} ${path}: ${kind}, ${countOf(bytes, "byte")}${deleted}${by}`
  return {
    id: kind,
    outcome: excepted === undefined ? "fail" : "pass",
    because: excepted === undefined ? seen : `${seen}: ${excepted}`,
    remedy: excepted === undefined ? remedyOf(file) : "",
    where: { layer, path, instruction, line: null },
  }
}

const MOUNT = "mount it, or fetch it at run time by its digest, instead of baking it in"

function remedyOf({ kind, path, hidden }: File): string {
  if (/\.whl$/.test(path)) return "install the wheel in a build stage, and COPY --from it what was installed"
  if (/\.conda$|\/pkgs\/[^/]*\.tar\.bz2$/.test(path)) return "run conda clean --all in the RUN that installs"
  if (hidden) return "unpack and delete it in one RUN, or in a stage that is not shipped: a later RUN rm frees nothing"
  return REMEDY[layoutKind[kind]]
}

const REMEDY: Readonly<Record<ReturnType<typeof kindOf>, string>> = {
  archive:
    "unpack it in a build stage and COPY --from it the files; model weights in a zip: mount or fetch them at run time",
  compressed: "unpack it in a build stage and COPY --from it the result; the layer is compressed anyway",
  package: "install it in a build stage, or delete it in the RUN that installs it",
  "disk-image": `COPY the files that it holds; where it must be one image, ${MOUNT}`,
  "model-weights": MOUNT,
  data: MOUNT,
  program: "strip it, split it, or ship only the variant that runs (CPU or GPU)",
  other: "split it into files that change apart, or mount it at run time",
}

const kindOf = (kind: File["kind"]) => layoutKind[kind]
