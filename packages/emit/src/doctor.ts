import { EvidenceError } from "@envidence/core"
import type { EmitArguments } from "./arguments.js"
import { openEngine } from "./lab/engines.js"
import { BoundedLog } from "./lab/log.js"
import type { World } from "./world.js"

/** `emit-evidence doctor`: what this machine can observe, and what to install. Exit code 0 or 1. */
export async function diagnose(told: EmitArguments, world: World): Promise<{ text: string; exitCode: number }> {
  try {
    const engine = await openEngine(told.engine, {
      parentDirectory: world.temporaryDirectory,
      env: world.env,
      nodePath: world.nodePath,
      log: new BoundedLog(),
      signal: world.signal,
    })
    const { name, version, runtime } = engine
    await engine.close()
    return {
      text: `engine   ${name} ${version}: works\nruntime  ${runtime.name} ${runtime.version}: works\n`,
      exitCode: 0,
    }
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error
    return { text: `engine   ${error.message}\n         ${error.hint ?? ""}\n`, exitCode: 1 }
  }
}
