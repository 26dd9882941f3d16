// The worked example of CONTRIBUTING.md, run as it stands.
import { spawn, spawnSync } from "node:child_process"
import { delimiter } from "node:path"
import { expect, test } from "vitest"
import { readDocument, root } from "./markdown.js"

const succeeds = (command: string, args: readonly string[]): boolean =>
  spawnSync(command, args, { stdio: "ignore" }).status === 0

// Made by the demo; without it the example would download for a minute.
const isReady =
  succeeds("podman", ["image", "exists", "localhost/envidence-example-base:latest"]) && succeeds("openssl", ["version"])

const SCRIPT = /<!-- the worked example -->\n```bash\n([\s\S]*?)```/.exec(readDocument("CONTRIBUTING.md"))?.[1]

test("CONTRIBUTING.md has a worked example that ends with a verdict", () => {
  expect(SCRIPT).toMatch(/^npx emit-evidence [\s\S]*^npx verify-evidence /m)
})

test.skipIf(!isReady)(
  "the worked example is accepted, line by line (needs podman, openssl, the base image)",
  async () => {
    const { code, output } = await runScript(SCRIPT ?? "exit 1")
    expect(code, output).toBe(0)
    expect(output).toMatch(/^CHECKED {2}parcel_sorting/m)
    expect(output).toMatch(/^ACCEPTED {2}parcel_sorting .* policy demo\/1$/m)
  },
  300_000,
)

function runScript(script: string): Promise<{ code: number | null; output: string }> {
  // As a newcomer's shell has it: npm puts the repository's own Node in front of these folders only for its scripts.
  const folders = (process.env.PATH ?? "").split(delimiter).filter(folder => !folder.includes("node_modules"))
  const env = { ...process.env, PATH: folders.join(delimiter) }
  // Not at once with spawnSync: it would keep this worker from answering for a minute.
  const child = spawn("bash", ["-euo", "pipefail", "-c", script], { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text
    })
  return new Promise((resolve, reject) => {
    child.once("error", reject)
    child.once("close", code => resolve({ code, output }))
  })
}
