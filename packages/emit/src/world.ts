/** What the program may touch of the machine; tests give their own. */
export interface World {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  /** Whether standard error is a terminal that a person watches. */
  readonly isTerminal: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  readonly now: () => Date
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal
  /** The Node that runs this program, for the lab's children. */
  readonly nodePath: string
  /** Its version, for the snapshot. */
  readonly nodeVersion: string
  readonly temporaryDirectory: string
}
