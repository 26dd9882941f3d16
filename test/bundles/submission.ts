// A small submission on disk: what a contributor's checkout looks like.
import { mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { type SubmissionDocument, type SubmissionFile, submissionDigest } from "@envidence/core"
import { readBuildContext } from "@envidence/oci"

export const honestFiles: Readonly<Record<string, string>> = {
  "openenv.yaml": `spec_version: 1
name: tiny
version: 1.2.0
port: 8000
validation:
  resources:
    cpu: 1
    memory_mb: 256
    disk_mb: 64
    episode_timeout_s: 30
    gpus: 0
`,
  Dockerfile: "FROM scratch\nCOPY app /app\n",
  "app/server.py": "print('hello')\n",
}

const TEXTS = ["openenv.yaml", "Dockerfile", ".dockerignore"]

/** Writes the files into the new folder `directory` and describes them as `emit-evidence` does. */
export async function writeSubmission(directory: string, files: Readonly<Record<string, string>>) {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true })
    writeFileSync(join(directory, path), text)
  }
  const rows: SubmissionFile[] = [...(await readBuildContext(directory, { dockerfile: "Dockerfile" }))]
  const texts = TEXTS.flatMap(path => (files[path] === undefined ? [] : [{ path, text: files[path] }]))
  const kind = files["openenv.yaml"] === undefined ? "image" : "openenv"
  const document: SubmissionDocument = { schemaVersion: "1.0", kind, dockerfile: "Dockerfile", files: rows, texts }
  return { document, digest: await submissionDigest(rows) }
}
