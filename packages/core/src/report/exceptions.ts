import type { Finding } from "../rejudge.js"

export interface ShownException {
  readonly path: string
  readonly sha256: string | null
  readonly reason: string
  /** How many files, folders or links it spared: 0 where the image has nothing like it. */
  readonly spared: number
}

/** The exceptions that the policy granted, as its judge stated them; granted ones are shown though nothing needed them. */
export function exceptionsOf({ observed }: Finding): readonly ShownException[] {
  return Array.isArray(observed.exceptions) ? (observed.exceptions as ShownException[]) : []
}
