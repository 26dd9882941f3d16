import type { FactsOf } from "./criterion.js"
import {
  countOf,
  defineMeasuredCriterion,
  fail,
  type JudgedPart,
  pass,
  shortInstruction,
  unmeasured,
} from "./criterion.js"
import { atMost } from "./threshold.js"

type Facts = FactsOf<"LayerChangeIsolationObservation">
type Layer = Facts["changed"]["layers"][number]

interface Moved extends Layer {
  readonly index: number
}

export const layerChangeIsolation = defineMeasuredCriterion({
  id: "layer-change-isolation",
  name: "layer change",
  revision: 1,
  requirement: "A change of an application file moves only the top one or two layers.",
  upstream: ["hub.layer_isolation"],
  schema: "LayerChangeIsolationObservation",
  restsOn: ["observation"],
  thresholds: {
    layers: atMost(2, {
      unit: "layers, from the lowest that moves up to the top",
      reason: "The RFC says: moves only the top one or two layers.",
    }),
    bytes: atMost(10_000_000, {
      unit: "compressed bytes shipped again",
      reason:
        "Ours: the RFC counts layers alone, but two of them can hold a whole virtual environment, which for OpenEnv's own packages is 33 MB compressed; an environment's own code is far below 1 MB.",
    }),
  },
  judge(facts, { layers, bytes }, { imageDigest }) {
    const { base, changed, file } = facts
    const moved = movedLayers(facts)
    const shipped = moved.reduce((sum, { size }) => sum + size, 0)
    const lowest = moved[0]
    const span = lowest === undefined ? 0 : changed.layers.length - lowest.index
    const observed = {
      engine: `${facts.engine.name} ${facts.engine.version}`,
      flags: facts.flags,
      file: file.path,
      chosen: file.because,
      layers: changed.layers.length,
      moved: moved.map(({ index }) => index),
      bytes: shipped,
      judgedImageRebuilt: base.manifestDigest === imageDigest,
    }
    if (facts.imageDigest !== imageDigest)
      return fail("another image was changed than the judged one", "run emit-evidence again", { observed })
    if (base.layers.length !== changed.layers.length)
      return fail(
        `a comment in ${file.path} changes the number of layers, from ${base.layers.length} to ${changed.layers.length}`,
        "write a Dockerfile whose instructions do not depend on what the application's files say",
        { observed },
      )
    if (lowest === undefined)
      return unmeasured(`a comment in ${file.path} moves no layer: the file does not reach the image`, { observed })
    const what = `a comment in ${file.path} moves ${movedText(moved, span)} of ${changed.layers.length}, ${countOf(shipped, "byte")} to ship again`
    if (span <= layers && shipped <= bytes) return pass(what, { observed })
    const because = `${what}; the lowest is ${nameOf(lowest)}`
    const spreads = span > layers
    return fail(because, spreads ? reorder(facts, lowest) : separate(facts, moved), {
      observed,
      parts: moved.map(layer => describe(facts, layer, { spreads, lowest, moved })),
    })
  },
})

function movedLayers({ base, changed }: Facts): Moved[] {
  return changed.layers.flatMap((layer, index) =>
    layer.diffId === base.layers[index]?.diffId ? [] : [{ ...layer, index }],
  )
}

// Layers that stay the same above one that moves are counted by the span, so they must not seem to be forgotten.
const movedText = (moved: readonly Moved[], span: number) =>
  moved.length === span
    ? `the top ${countOf(span, "layer")}`
    : `${countOf(moved.length, "layer")} among the top ${span}`

const nameOf = ({ index, instruction }: Moved) =>
  `layer ${index}${instruction === null ? "" : `, ${shortInstruction(instruction)}`}`

interface Failing {
  readonly spreads: boolean
  readonly lowest: Moved
  readonly moved: readonly Moved[]
}

function describe(facts: Facts, layer: Moved, { spreads, lowest, moved }: Failing): JudgedPart {
  const isLowest = layer.index === lowest.index
  const { spreads: spreading } = facts
  const place = isLowest && spreading?.line != null ? `, ${spreading.path} line ${spreading.line}` : ""
  return {
    id: "moved-layer",
    outcome: "fail",
    because: `${nameOf(layer)}${place}: ${countOf(layer.size, "byte")} to ship again`,
    remedy: spreads ? reorder(facts, lowest) : separate(facts, moved),
    where: {
      layer: layer.index,
      path: isLowest && spreading !== null ? spreading.path : null,
      instruction: layer.instruction,
      line: isLowest ? (spreading?.line ?? null) : null,
    },
  }
}

function reorder({ spreads, file }: Facts, lowest: Moved): string {
  const where = spreads?.line == null ? nameOf(lowest) : `line ${spreads.line} of ${spreads.path}`
  const moving = `move ${where}, which brings ${file.path}, below every instruction that does not need it`
  // Where an earlier stage copies the file, what is made after that is made anew as well.
  return isCopiedBefore(spreads, file) ? `${moving}; ${installAbove(spreads, file)}` : `${moving}: ${INSTALL_FIRST}`
}

const INSTALL_FIRST = "copy the lock file and install dependencies first, the application last"

function separate({ spreads, file }: Facts, moved: readonly Moved[]): string {
  const { index } = moved.reduce((most, layer) => (layer.size > most.size ? layer : most))
  return `${installAbove(spreads, file)}; ship what is large in layer ${index} by a COPY of its own, before the application's`
}

const isCopiedBefore = (spreads: Facts["spreads"], { copiedBy }: Facts["file"]) =>
  copiedBy !== null && spreads !== null && spreads.line !== null && copiedBy < spreads.line

function installAbove(spreads: Facts["spreads"], { copiedBy, path }: Facts["file"]): string {
  if (copiedBy === null || spreads === null) return INSTALL_FIRST
  return `install dependencies, from their lock file alone, above line ${copiedBy} of ${spreads.path}, which copies ${path}`
}
