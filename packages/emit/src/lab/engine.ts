import type { Log } from "./log.js"

export interface BuildRequest {
  /** Absolute path of the staged context. */
  readonly contextDirectory: string
  /** Relative to the context. */
  readonly dockerfile: string
  readonly buildArgs: Readonly<Record<string, string>>
  readonly network: BuildNetwork
  /** Seconds since 1970: every time in the image becomes this one. */
  readonly sourceDateEpoch: number
  readonly log: Log
  readonly signal: AbortSignal
  /** Seconds; default one hour. */
  readonly timeoutSeconds?: number
  /**
   * Builds as one rebuilds after a change: with the layer cache, and with the file times as they come, so that what the
   * cache does not hold is seen to be made anew.
   */
  readonly cached?: boolean
}

/** Every build argument that the engine is given. */
export const declaredArguments = ({ buildArgs, sourceDateEpoch }: BuildRequest): Readonly<Record<string, string>> => ({
  ...buildArgs,
  SOURCE_DATE_EPOCH: String(sourceDateEpoch),
})

export type BuildNetwork = "none" | "host"

export interface BuildResult {
  /** The engine's name for the image: use it with the other methods. */
  readonly image: string
  /** What the build was told, without paths of this machine. */
  readonly flags: readonly string[]
}

export interface RunRequest {
  /** The port on which the environment listens inside the container. */
  readonly port: number
  /** `uid:gid`, or null for the image's own user. */
  readonly user: string | null
  readonly env: Readonly<Record<string, string>>
  readonly memoryMegabytes: number
  readonly processes: number
  readonly log: Log
  readonly signal: AbortSignal
}

export interface RunningContainer {
  /** Unix socket whose connections reach the environment's port. */
  readonly socketPath: string
  /** Whether its first process still runs; cheap enough to ask often. */
  isRunning(): boolean
  /** Its last output, a stranger's: redacted and bounded. */
  lastLines(): Promise<readonly string[]>
  /** Removes the container, the forwarder and the socket. Does nothing the second time, and never throws. */
  stop(): Promise<void>
}

export interface EngineRuntime {
  readonly name: string
  readonly version: string
  readonly path: string
}

/**
 * A container engine with storage of its own: it sees the images of the user's storage and changes nothing there.
 * Methods throw EvidenceError `engine-failed` where the engine refuses, `interrupted` where the signal aborts.
 */
export interface Engine {
  readonly name: "podman" | "docker"
  readonly version: string
  readonly runtime: EngineRuntime
  /** An empty folder for the caller, removed with everything else by `close`. */
  readonly workDirectory: string
  build(request: BuildRequest): Promise<BuildResult>
  /** Writes the image as an OCI layout (image-spec 1.1) into a folder that does not exist yet. */
  exportLayout(image: string, directory: string, signal: AbortSignal): Promise<void>
  /** Reads an OCI layout's image, of an index that for this machine; returns the engine's name for it. */
  importLayout(directory: string, signal: AbortSignal): Promise<string>
  run(image: string, request: RunRequest): Promise<RunningContainer>
  removeImage(image: string): Promise<void>
  /** Stops what runs and removes everything that was made. Does nothing the second time. */
  close(): Promise<void>
}
