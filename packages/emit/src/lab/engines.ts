import { EvidenceError } from "@envidence/core"
import type { Engine } from "./engine.js"
import { type EngineOptions, openPodman } from "./podman.js"

export type EngineChoice = "auto" | "podman" | "docker"

/**
 * Opens the engine that `--engine` names; the caller closes it, whatever happens.
 *
 * @throws EvidenceError usage for an engine that this version does not drive; engine-failed where none works
 */
export async function openEngine(choice: EngineChoice, options: EngineOptions): Promise<Engine> {
  if (choice === "docker")
    throw new EvidenceError("usage", "this version does not drive docker", { hint: "use --engine podman" })
  return openPodman(options)
}
