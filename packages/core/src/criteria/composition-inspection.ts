import { metadataChanges, type RepeatedContent, repeatedContent } from "../image/duplicates.js"
import { diveFigures } from "../image/efficiency.js"
import { pathInRoot } from "../image/inventory.js"
import { shippedFiles, statedPath } from "../image/shipped-file.js"
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
import { atLeast, atMost } from "./threshold.js"

type Facts = FactsOf<"CompositionInspectionObservation">
type Repeated = Facts["repeated"][number]
type ShippedCopy = Repeated["copies"][number]

const LISTED = 200
const COPIES = 16
const BIGGEST = 10
const MIB = 1_048_576

export const compositionInspection = defineStaticCriterion({
  id: "composition-inspection",
  name: "composition",
  revision: 1,
  requirement: "No large file is shipped twice, and few bytes are shipped in vain.",
  upstream: [],
  schema: "CompositionInspectionObservation",
  restsOn: ["image-layers"],
  thresholds: {
    efficiency: atLeast(0.9, {
      unit: "dive's efficiency, a fraction",
      reason: "The default of dive's own CI mode (lowestEfficiency), the tool that the RFC names.",
    }),
    wastedUserPercent: atMost(0.1, {
      unit: "dive's wasted bytes, a fraction of the bytes above the first layer",
      reason: "The default of dive's own CI mode (highestUserWastedPercent).",
    }),
    spareBytes: atMost(4 * MIB, {
      unit: "bytes that could be spared before dive's two fractions count",
      reason:
        "Ours: fractions of a small image are noise, and where less than one chunk of eStargz (4 MiB) could be spared, no pull becomes faster.",
    }),
    repeatedFileBytes: atMost(MIB, {
      unit: "bytes of a file that may be shipped more than once",
      reason:
        "Ours: the RFC says that no large file is shipped twice, and not what large is. 1 MiB is one chunk of Nydus: a smaller file is fetched together with others.",
    }),
    repeatedBytes: atMost(16 * MIB, {
      unit: "bytes that further copies of all files take",
      reason:
        "Ours: a virtual environment that is copied twice has no large file, and is shipped twice all the same. Copies that distributions bring by themselves stay far below.",
    }),
  },
  takesExceptions: true,
  inspect: ({ image }) => inspectComposition(image),
  judge(facts, limits, _context, exceptions) {
    const {
      counted,
      excepted,
      observed: spared,
    } = sortOut(facts.repeated, exceptions, ({ sha256, copies }) => copies.map(({ path }) => ({ path, sha256 })))
    const sparedBytes = excepted.reduce((sum, { item }) => sum + item.duplicateBytes + item.rewrittenBytes, 0)
    const repeatedBytes = facts.duplicateBytes + facts.rewrittenBytes - sparedBytes
    const large = counted.filter(({ bytes }) => bytes >= limits.repeatedFileBytes)
    const isTooMuch = repeatedBytes > limits.repeatedBytes
    // What is not listed is smaller than what is: only where all that is listed is spared could it hide.
    const isUnlisted =
      facts.repeated.length < facts.repeatedFiles && (facts.repeated.at(-1)?.bytes ?? 0) >= limits.repeatedFileBytes
    const inefficiencies = inefficiencyOf(facts, limits)
    const { layers, entries, duplicateBytes, rewrittenBytes } = facts
    const observed = { layers, entries, ...figures(facts), duplicateBytes, rewrittenBytes, ...spared }
    const seen = [
      ...(large.length > 0 ? [`${countOf(large.length, "large file")} shipped more than once`] : []),
      ...(isTooMuch ? [`further copies of files take ${repeatedBytes} bytes, above ${limits.repeatedBytes}`] : []),
      ...(isUnlisted ? [`more such files than the ${LISTED} listed`] : []),
      ...inefficiencies,
    ]
    const last = [...excepted.map(({ item, because }) => describeRepeated(item, because)), CHUNKS]
    if (seen.length === 0)
      return pass(`${saySmall(facts)}; chunk boundaries were not inspected`, { observed, parts: last })
    const parts = [
      ...(isTooMuch ? counted : large).map(repeated => describeRepeated(repeated)),
      ...(inefficiencies.length > 0 ? facts.dive.inefficient.slice(0, BIGGEST).map(describeInefficient) : []),
    ]
    return fail(seen.join("; "), parts[0]?.remedy ?? OTHER_REMEDY, { observed, parts: [...parts, ...last] })
  },
})

// Half of what the RFC asks here: a pass says so, in its reason and as a part.
const CHUNKS: JudgedPart = {
  id: "chunk-boundaries",
  outcome: "unmeasured",
  because: "chunk boundaries of lazy formats were not inspected: this revision looks at files alone",
  remedy: "",
  where: null,
}

const figures = ({ dive }: Facts) => ({
  efficiency: dive.efficiency,
  wastedBytes: dive.wastedBytes,
  wastedUserPercent: dive.wastedUserPercent,
  redundantBytes: dive.redundantBytes,
})

const percent = (fraction: number): string => `${(fraction * 100).toFixed(2)} %`

const saySmall = ({ dive, duplicateBytes, rewrittenBytes }: Facts): string =>
  `efficiency ${percent(dive.efficiency)}, ${dive.redundantBytes} of ${dive.sizeBytes} bytes redundant by path, ${duplicateBytes + rewrittenBytes} by content`

interface Limits {
  readonly efficiency: number
  readonly wastedUserPercent: number
  readonly spareBytes: number
}

function inefficiencyOf({ dive }: Facts, limits: Limits): string[] {
  if (dive.redundantBytes <= limits.spareBytes) return []
  // Null stands for a division by zero: nothing but waste above the first layer.
  const isWasteful = dive.wastedUserPercent === null || dive.wastedUserPercent > limits.wastedUserPercent
  const share = dive.wastedUserPercent === null ? "all" : percent(dive.wastedUserPercent)
  return [
    ...(dive.efficiency < limits.efficiency
      ? [`efficiency ${percent(dive.efficiency)}, below ${percent(limits.efficiency)}`]
      : []),
    ...(isWasteful ? [`${dive.wastedBytes} bytes wasted, ${share} of what stands above the first layer`] : []),
  ]
}

function inspectComposition(image: ImageView): Facts {
  const { inefficient, ...dive } = diveFigures(image.layers)
  const repeated = repeatedContent(image.layers)
  const sum = (bytesOf: (content: RepeatedContent) => number) =>
    repeated.reduce((total, content) => total + bytesOf(content), 0)
  const state = shippedFiles(image)
  return {
    layers: image.layers.length,
    entries: image.layers.reduce((count, { entries }) => count + entries.length, 0),
    dive: {
      ...dive,
      redundantBytes: inefficient.reduce((total, { redundantBytes }) => total + redundantBytes, 0),
      inefficientFiles: inefficient.length,
      inefficient: inefficient.slice(0, LISTED).map(each => ({ ...each, path: statedPath(each.path) })),
    },
    duplicateBytes: sum(content => content.duplicateBytes),
    rewrittenBytes: sum(content => content.rewrittenBytes),
    repeatedFiles: repeated.length,
    repeated: repeated.slice(0, LISTED).map(content => stateRepeated(content, state)),
    biggest: biggestFiles(image).map(({ layer, entry }) => ({
      ...state(layer, entry),
      kind: entry.content ?? "empty",
    })),
  }
}

function stateRepeated(content: RepeatedContent, state: ReturnType<typeof shippedFiles>): Repeated {
  const { sha256, bytes, copies, duplicateBytes, rewrittenBytes } = content
  const first = new Map<string, InventoryEntry>()
  const stated = copies.slice(0, COPIES).map(({ layer, path, entry }): ShippedCopy => {
    const before = first.get(path)
    if (before === undefined) first.set(path, entry)
    const { bytes: _bytes, sha256: _sha256, ...rest } = state(layer, entry)
    return { ...rest, changed: before === undefined ? null : metadataChanges(before, entry) }
  })
  return { sha256, bytes, count: copies.length, duplicateBytes, rewrittenBytes, copies: stated }
}

function biggestFiles(image: ImageView): { layer: number; entry: InventoryEntry }[] {
  const biggest: { layer: number; entry: InventoryEntry }[] = []
  for (const [layer, { entries }] of image.layers.entries())
    for (const entry of entries) {
      const smallest = biggest.length < BIGGEST ? 0 : (biggest.at(-1)?.entry.size ?? 0)
      if (entry.size <= smallest || pathInRoot(entry) === "") continue
      biggest.push({ layer, entry })
      biggest.sort((a, b) => b.entry.size - a.entry.size)
      if (biggest.length > BIGGEST) biggest.pop()
    }
  return biggest
}

function describeRepeated(repeated: Repeated, excepted?: string): JudgedPart {
  const { bytes, count, copies, duplicateBytes } = repeated
  const places = copies.slice(0, 4).map(sayCopy)
  const more = count > places.length ? `, and ${count - places.length} more` : ""
  const seen = `${countOf(bytes, "byte")}, ${count} times: ${places.join(", ")}${more}`
  const last = copies.find(({ layer, path }) => layer !== copies[0]?.layer || path !== copies[0]?.path)
  return {
    id: duplicateBytes > 0 ? "duplicate" : "rewritten",
    outcome: excepted === undefined ? "fail" : "pass",
    because: excepted === undefined ? seen : `${seen}: ${excepted}`,
    remedy: excepted === undefined ? remedyOf(repeated) : "",
    where:
      last === undefined ? null : { layer: last.layer, path: last.path, instruction: last.instruction, line: null },
  }
}

function sayCopy({ layer, path, hidden, changed, instruction }: ShippedCopy): string {
  const how =
    changed === null ? "" : ` (only ${changed.length === 0 ? "written again" : `${changed.join(", ")} changed`})`
  const deleted = hidden ? ", replaced or deleted later" : ""
  return `layer ${layer} ${path}${how}${deleted}${instruction === null ? "" : ` by ${shortInstruction(instruction)}`}`
}

const OTHER_REMEDY = "write each file once, in the layer where it stays"

function remedyOf({ copies, duplicateBytes }: Repeated): string {
  const changed = new Set(copies.flatMap(copy => copy.changed ?? []))
  if (duplicateBytes === 0 && (changed.has("mode") || changed.has("owner")))
    return "set mode and owner where the file is made: COPY --chmod=… --chown=…, or in the same RUN; a later RUN chmod or chown ships it again"
  if (duplicateBytes === 0) return OTHER_REMEDY
  if (copies.some(({ hidden }) => hidden))
    return "make it where it stays: a later mv, cp or rm ships it again and frees nothing"
  return "keep one copy, and link to it: ln -s in the RUN or stage that makes it"
}

const describeInefficient = ({
  path,
  references,
  bytes,
  redundantBytes,
}: Facts["dive"]["inefficient"][number]): JudgedPart => ({
  id: "inefficient",
  outcome: "fail",
  because: `${path}: ${references} layers write or delete it, ${countOf(bytes, "byte")}, of which ${redundantBytes} in vain`,
  remedy: OTHER_REMEDY,
  where: { layer: null, path, instruction: null, line: null },
})
