/** What the program may touch of the machine; tests give their own. */
export interface World {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  readonly stdin: () => AsyncIterable<Uint8Array>
  readonly now: () => Date
}
