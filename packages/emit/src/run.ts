import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { type Binding, type Declaration, type Digest, EvidenceError } from "@envidence/core"
import { type ImageReference, openOciLayout, parseImageReference } from "@envidence/oci"
import type { EmitArguments } from "./arguments.js"
import { type Checkpoint, keepFolder } from "./checkpoint.js"
import { copyLayout, layOut, type ReadImage, readImage, viewImage } from "./image.js"
import { buildImage } from "./lab/build.js"
import type { Engine } from "./lab/engine.js"
import { openEngine } from "./lab/engines.js"
import { defaultSourceDateEpoch, environmentDefaults, type Lab, type LabImage } from "./lab/lab.js"
import { readLayoutIdentity } from "./lab/layout.js"
import type { Log } from "./lab/log.js"
import type { Progress } from "./progress.js"
import { demandFolder, type StagedSubmission, stageSubmission } from "./submission.js"
import type { World } from "./world.js"

/** A submission with its image, on an engine that is open. */
export interface Run {
  readonly submission: StagedSubmission
  readonly engine: Engine
  readonly image: LabImage
  /** What the report says of an image that was given; none of one that was built. */
  readonly bindings: readonly Binding[]
  readonly read: ReadImage
  readonly lab: Omit<Lab, "seeds">
}

export interface RunTools {
  readonly progress: Progress
  readonly log: Log
  /** Opened once the submission, and the image that was given, are known: a tag, or a folder, may change. */
  readonly openCheckpoint: (submission: StagedSubmission, given: Digest | null) => Promise<Checkpoint>
}

/**
 * Opens the engine, stages the submission, builds or imports the image and reads it; then lets `work` observe. Whatever
 * happens, nothing of it stays but what the checkpoint keeps.
 *
 * @throws EvidenceError as its parts do; interrupted on Ctrl-C
 */
export async function withRun<T>(
  told: EmitArguments,
  world: World,
  { progress, log, openCheckpoint }: RunTools,
  work: (run: Run, checkpoint: Checkpoint) => Promise<T>,
): Promise<T> {
  const reference = told.image === undefined ? undefined : parseImageReference(told.image)
  await demandFolder(told.input)
  let engine: Engine | undefined
  try {
    engine = await progress.step("opening the container engine", 2, () => open(told, world, log))
    // In the lab's own folder, which is removed even after this process was killed.
    const folder = join(engine.workDirectory, "submission")
    const submission = await progress.step("staging the submission", 1, () => stageSubmission(told.input, folder))
    const lab = { ...labOf(submission, told, world, log), engine }
    const given = reference === undefined ? undefined : await obtainGiven(lab, reference, progress, world)
    const checkpoint = await openCheckpoint(submission, given?.image.manifestDigest ?? null)
    const { image, bindings } = given ?? { image: await obtainBuild(lab, checkpoint, progress), bindings: [] }
    const read = await progress.step("reading every layer", 5, async () =>
      readImage(await openOciLayout(image.layout), submission.declaration, world.signal),
    )
    return await work({ submission, engine, image, bindings, read, lab: { ...lab, image } }, checkpoint)
  } catch (error) {
    throw world.signal.aborted ? new EvidenceError("interrupted", "interrupted", { cause: error }) : error
  } finally {
    await engine?.close()
  }
}

const open = (told: EmitArguments, world: World, log: Log): Promise<Engine> =>
  openEngine(told.engine, {
    parentDirectory: world.temporaryDirectory,
    env: world.env,
    nodePath: world.nodePath,
    log,
    signal: world.signal,
  })

function labOf(
  submission: StagedSubmission,
  told: EmitArguments,
  { signal }: World,
  log: Log,
): Omit<Lab, "engine" | "image" | "seeds"> {
  const { dockerfile, declaration, stage } = submission
  return {
    submission: {
      dockerfile,
      buildArgs: told.buildArgs,
      network: told.buildNetwork,
      sourceDateEpoch: defaultSourceDateEpoch,
    },
    environment: environmentOf(declaration),
    stage,
    inventory: directory => viewImage(directory, signal),
    log,
    signal,
  }
}

// The declared budget is the one that the environment gets, within what a lab gives.
function environmentOf({ port, resources, declaresNondeterminism }: Declaration): Lab["environment"] {
  const declared = resources.declared.memory_mb?.value
  const memoryMegabytes =
    declared === undefined ? environmentDefaults.memoryMegabytes : Math.min(Math.max(Math.round(declared), 64), 65_536)
  return {
    ...environmentDefaults,
    port: port ?? environmentDefaults.port,
    memoryMegabytes,
    declaredNondeterministic: declaresNondeterminism,
  }
}

type LabWithoutImage = Omit<Lab, "image" | "seeds">

async function obtainGiven(
  lab: LabWithoutImage,
  reference: ImageReference,
  progress: Progress,
  world: World,
): Promise<Pick<Run, "image" | "bindings">> {
  const draft = join(lab.engine.workDirectory, "given")
  const { directory, bindings } = await progress.step("fetching the image", 10, () => layOut(reference, draft, world))
  const image = await progress.step("importing the image", 10, () => importImage(lab, directory, null))
  return { image, bindings }
}

async function obtainBuild(lab: LabWithoutImage, checkpoint: Checkpoint, progress: Progress): Promise<LabImage> {
  const kept = await keptBuild(checkpoint)
  if (kept !== undefined)
    return progress.step("importing the kept build", 10, () => importImage(lab, kept.layout, kept.build))
  const { submission } = lab
  if (submission === null) throw new EvidenceError("internal", "there is neither a source nor an image")
  const built = await progress.step("building the image", 20, () => buildImage({ ...lab, submission }))
  await keepFolder(checkpoint, KEPT, async draft => {
    await copyLayout(built.layout, join(draft, "layout"))
    await writeFile(join(draft, "build.json"), JSON.stringify(built.build))
  })
  return built
}

const KEPT = "image"

interface KeptBuild {
  readonly layout: string
  readonly build: LabImage["build"]
}

async function keptBuild({ directory }: Checkpoint): Promise<KeptBuild | undefined> {
  if (directory === null) return undefined
  const folder = join(directory, KEPT)
  const text = await readFile(join(folder, "build.json"), "utf8").catch(() => undefined)
  return text === undefined
    ? undefined
    : { layout: join(folder, "layout"), build: JSON.parse(text) as LabImage["build"] }
}

async function importImage(
  { engine, signal }: LabWithoutImage,
  layout: string,
  build: LabImage["build"],
): Promise<LabImage> {
  const identity = await readLayoutIdentity(layout)
  const reference = await engine.importLayout(layout, signal)
  return { reference, layout, ...identity, build }
}
