/** What the program may touch of the machine; tests give their own. */
export interface World {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  readonly stdin: () => AsyncIterable<Uint8Array>
  readonly now: () => Date
  /** Where the user's registry credentials and container engines are looked for. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Written to only for an image of a container engine, which is kept there without a name. */
  readonly temporaryDirectory: string
}
