import type { Digest, ImageView } from "@envidence/core"
import type { BuildNetwork, Engine } from "./engine.js"
import type { Log } from "./log.js"

/** What the submission says of itself, as far as observing needs it. */
export interface SubmissionFacts {
  /** Relative to the build context. */
  readonly dockerfile: string
  readonly buildArgs: Readonly<Record<string, string>>
  readonly network: BuildNetwork
  /** Seconds since 1970. */
  readonly sourceDateEpoch: number
}

/** How the environment wants to be run, from openenv.yaml or by default. */
export interface EnvironmentFacts {
  readonly port: number
  /** Variables of production; nothing that tells a validator apart. */
  readonly env: Readonly<Record<string, string>>
  readonly memoryMegabytes: number
  readonly processes: number
  /** Until the first reset is answered. */
  readonly readySeconds: number
  readonly declaredNondeterministic: boolean
}

export const environmentDefaults: EnvironmentFacts = {
  port: 8000,
  env: {},
  memoryMegabytes: 2048,
  processes: 512,
  readySeconds: 60,
  declaredNondeterministic: false,
}

/** 1 January 2024: later than 1980, before which zip files, hence wheels, know no time. */
export const defaultSourceDateEpoch = 1_704_067_200

/** The image that a run judges. */
export interface LabImage {
  /** The engine's name for it. */
  readonly reference: string
  /** Folder with the OCI layout whose bytes are judged. */
  readonly layout: string
  readonly manifestDigest: Digest
  readonly configDigest: Digest
  readonly diffIds: readonly Digest[]
  /** The config's own bytes. */
  readonly config: Uint8Array
  /** Null where the image was not built here. */
  readonly build: { readonly seconds: number; readonly flags: readonly string[] } | null
}

/** Everything that observing a criterion may use. Plain data and functions: a test makes one by hand. */
export interface Lab {
  readonly engine: Engine
  readonly image: LabImage
  /** Null where a finished image is judged without its source. */
  readonly submission: SubmissionFacts | null
  readonly environment: EnvironmentFacts
  /** Copies the submission's files to a folder that does not exist yet. Called only where there is a submission. */
  stage(destination: string): Promise<void>
  inventory(layoutDirectory: string): Promise<ImageView>
  /** Small integers. */
  readonly seeds: readonly number[]
  readonly log: Log
  readonly signal: AbortSignal
}
