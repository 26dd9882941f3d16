import { mkdtemp, rm } from "node:fs/promises"
import { join } from "node:path"
import { performance } from "node:perf_hooks"
import type { Lab, LabImage } from "./lab.js"
import { readLayoutIdentity } from "./layout.js"

/** What one clean build needs of a lab that has no image yet. */
export type BuildLab = Pick<Lab, "engine" | "stage" | "log" | "signal"> & {
  readonly submission: NonNullable<Lab["submission"]>
}

export interface BuildOptions {
  /** May change the copy between staging and building. */
  readonly prepare?: (context: string) => Promise<void>
  /** With the layer cache; a clean build otherwise. */
  readonly cached?: boolean
}

/**
 * One build from a copy staged for it alone, exported as OCI layout.
 *
 * @throws EvidenceError engine-failed, interrupted
 */
export async function buildImage(lab: BuildLab, options: BuildOptions = {}): Promise<LabImage> {
  const { engine, submission, signal, log } = lab
  const folder = await mkdtemp(join(engine.workDirectory, "build-"))
  const [contextDirectory, layout] = [join(folder, "context"), join(folder, "layout")]
  await lab.stage(contextDirectory)
  await options.prepare?.(contextDirectory)
  const started = performance.now()
  const { image, flags } = await engine.build({
    ...submission,
    contextDirectory,
    log,
    signal,
    cached: options.cached ?? false,
  })
  const seconds = Math.round(performance.now() - started) / 1000
  await rm(contextDirectory, { recursive: true, force: true })
  await engine.exportLayout(image, layout, signal)
  return { reference: image, layout, ...(await readLayoutIdentity(layout)), build: { seconds, flags } }
}
