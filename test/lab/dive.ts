// dive itself, the peer of the efficiency that composition-inspection computes: built once per machine from its module.
import { spawnSync } from "node:child_process"
import { readFileSync, rmSync } from "node:fs"
import { findGoProgram } from "./go-program.ts"

const VERSION = "0.13.1"

/** The program, or why there is none. */
export const findDive = () => findGoProgram({ name: "dive", version: VERSION, module: "github.com/wagoodman/dive" })

export interface DiveReport {
  readonly efficiency: number
  readonly wastedBytes: number
  readonly sizeBytes: number
  readonly layerBytes: readonly number[]
  readonly inefficient: readonly { readonly path: string; readonly references: number; readonly bytes: number }[]
}

interface Exported {
  readonly layer: readonly { readonly sizeBytes: number }[]
  readonly image: {
    readonly sizeBytes: number
    readonly inefficientBytes: number
    readonly efficiencyScore: number
    readonly fileReference:
      | readonly { readonly count: number; readonly sizeBytes: number; readonly file: string }[]
      | null
  }
}

/** What dive exports of an image in a docker-archive. */
export function runDive(program: string, archive: string): DiveReport {
  const exported = `${archive}.json`
  run(program, [`docker-archive://${archive}`, "--json", exported])
  const { layer, image } = JSON.parse(readFileSync(exported, "utf8")) as Exported
  rmSync(exported)
  return {
    efficiency: image.efficiencyScore,
    wastedBytes: image.inefficientBytes,
    sizeBytes: image.sizeBytes,
    layerBytes: layer.map(({ sizeBytes }) => sizeBytes),
    inefficient: (image.fileReference ?? []).map(({ file: path, count: references, sizeBytes: bytes }) => ({
      path,
      references,
      bytes,
    })),
  }
}

/** The lines that `dive --ci` prints for people, with its three figures. */
export function runDiveInCi(program: string, archive: string): string {
  return run(program, [`docker-archive://${archive}`, "--ci"])
}

function run(program: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8", env: { ...process.env, CI: "" } })
  // In CI mode 1 says that a rule does not hold.
  if (status === 0 || (args.includes("--ci") && status === 1)) return stdout
  throw new Error(`dive ${args.join(" ")} ended with ${status}: ${stdout}${stderr}`)
}
