import { appendFile, lstat, mkdtemp, readdir, readFile, rm } from "node:fs/promises"
import { join, relative } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import {
  clipText,
  EvidenceError,
  historyInstructions,
  type LayerChangeIsolationObservation,
  limits,
  parseImageConfig,
} from "@envidence/core"
import { openOciLayout } from "@envidence/oci"
import { buildImage } from "../lab/build.js"
import type { Lab, LabImage, SubmissionFacts } from "../lab/lab.js"
import { type ApplicationFile, chooseApplicationFile } from "./application-file.js"
import { defineMeasuredCriterion, type Measurement } from "./criterion.js"
import { lineOfLayer, parseDockerfile, type Stage } from "./dockerfile.js"

type Facts = LayerChangeIsolationObservation["facts"]
type Side = Facts["base"]

/**
 * Adds a comment to one file of the application and rebuilds with the layer cache, as a developer does: what the cache
 * no longer holds gets new times, hence a new digest, and would be shipped again.
 */
export const layerChangeIsolation = defineMeasuredCriterion<"layer-change-isolation", Facts>({
  id: "layer-change-isolation",
  estimateSeconds: 30,
  async measure(lab) {
    const { submission, image } = lab
    if (submission === null || image.build === null) return { unmeasured: "a finished image was given, not its source" }
    const { file, stages } = await choose(lab, submission)
    if (file === undefined)
      return { unmeasured: "the Dockerfile copies no source file from its context into the final stage" }
    const built: LabImage[] = []
    try {
      return await compare({ ...lab, submission }, file, stages, built)
    } finally {
      for (const { reference } of built) if (!lab.signal.aborted) await lab.engine.removeImage(reference)
    }
  },
})

const NEXT_SECOND_MS = 1100

type SourceLab = Lab & { readonly submission: SubmissionFacts }

async function compare(
  lab: SourceLab,
  file: ApplicationFile,
  stages: readonly Stage[],
  built: LabImage[],
): Promise<Measurement<Facts>> {
  const rebuild = async (prepare?: (context: string) => Promise<void>) => {
    // Layers have times of whole seconds: two that are made in one second would be equal, as if none had moved.
    if (built.length > 0) await pause(NEXT_SECOND_MS)
    const image = await buildImage(lab, { cached: true, ...(prepare === undefined ? {} : { prepare }) })
    built.push(image)
    return image
  }
  const changed = await rebuild(context => appendFile(join(context, file.path), file.appended)).catch(refused)
  if (typeof changed === "string") return { unmeasured: `it does not build with a comment in ${file.path}: ${changed}` }
  const base = movesOne(lab.image, changed) ? lab.image : await rebuildUnchanged(lab, rebuild)
  if (base === undefined)
    return { unmeasured: "the engine's layer cache does not hold: a rebuild without any change gives another image" }
  return { facts: await describe(lab, file, stages, base, changed), artifacts: [] }
}

/** The engine's reason why it does not build: the judged image did, so the change is what it is about. */
function refused(error: unknown): string {
  if (error instanceof EvidenceError && error.code === "engine-failed") return clipText(error.message, 400)
  throw error
}

// No change moves fewer, so it needs no comparison with a rebuild that has none.
const movesOne = (before: LabImage, after: LabImage) =>
  before.diffIds.length === after.diffIds.length &&
  after.diffIds.filter((diffId, index) => diffId !== before.diffIds[index]).length === 1

/**
 * The judged image where the cache gives it again. After a resumed run the cache is empty: then what it is filled with
 * counts, if that comes out of it once more.
 */
async function rebuildUnchanged(lab: SourceLab, rebuild: () => Promise<LabImage>): Promise<LabImage | undefined> {
  const base = await rebuild()
  if (sameLayers(base, lab.image)) return lab.image
  return sameLayers(await rebuild(), base) ? base : undefined
}

const sameLayers = (first: LabImage, second: LabImage) => first.diffIds.join() === second.diffIds.join()

async function describe(
  { engine, image, submission }: SourceLab,
  file: ApplicationFile,
  stages: readonly Stage[],
  base: LabImage,
  changed: LabImage,
): Promise<Facts> {
  const [before, after] = [await describeSide(base), await describeSide(changed)]
  const lowest = after.layers.findIndex(({ diffId }, index) => diffId !== before.layers[index]?.diffId)
  const history = historyInstructions(parseImageConfig(changed.config))
  return {
    engine: { name: engine.name, version: engine.version },
    flags: (changed.build?.flags ?? []).map(flag => flag.slice(0, 256)).slice(0, 64),
    network: submission.network,
    imageDigest: image.manifestDigest,
    file,
    base: before,
    changed: after,
    spreads:
      lowest < 0 ? null : { layer: lowest, path: submission.dockerfile, line: lineOfLayer(stages, history, lowest) },
  }
}

async function describeSide({ layout }: LabImage): Promise<Side> {
  const { manifestDigest, manifest, config } = await openOciLayout(layout)
  const instructions = historyInstructions(config)
  const layers = manifest.layers.flatMap(({ digest, size }, index) => {
    const [diffId, instruction] = [config.diffIds[index], instructions[index] ?? null]
    if (diffId === undefined) return []
    return { digest, diffId, size, instruction: instruction === null ? null : clipText(instruction, 4096) }
  })
  return { manifestDigest, layers }
}

interface Choice {
  readonly file: ApplicationFile | undefined
  readonly stages: readonly Stage[]
}

/** From a staged copy: what is ignored is not in it. */
async function choose(lab: Lab, { dockerfile }: SubmissionFacts): Promise<Choice> {
  const folder = await mkdtemp(join(lab.engine.workDirectory, "choose-"))
  const context = join(folder, "context")
  try {
    await lab.stage(context)
    const stages = parseDockerfile(await readDockerfile(join(context, dockerfile)))
    const { entrypoint, cmd } = parseImageConfig(lab.image.config).config
    const files = await listFiles(context)
    return { file: chooseApplicationFile({ stages, files, command: [...entrypoint, ...cmd] }), stages }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function readDockerfile(path: string): Promise<string> {
  const { size } = await lstat(path)
  return size > limits.sourceTextBytes ? "" : await readFile(path, "utf8")
}

async function listFiles(context: string): Promise<string[]> {
  const entries = await readdir(context, { recursive: true, withFileTypes: true })
  return entries
    .filter(entry => entry.isFile())
    .map(entry => relative(context, join(entry.parentPath, entry.name)))
    .sort()
}
