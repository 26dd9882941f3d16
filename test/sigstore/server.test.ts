import { spawn } from "node:child_process"
import { access } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { startSigstore } from "./start.ts"

const SERVER = fileURLToPath(new URL("./server.ts", import.meta.url))

test("the throw-away Sigstore ends when its standard input closes", async () => {
  const child = spawn(process.execPath, [SERVER], { stdio: ["pipe", "pipe", "inherit"] })
  const ended = new Promise(resolve => child.once("exit", resolve))
  await new Promise(resolve => child.stdout.once("data", resolve))
  child.stdin.end()
  expect(await ended).toBe(0)
})

test("stop ends the process and deletes its files", async () => {
  const lab = await startSigstore()
  await lab.stop()
  await expect(access(lab.trustedRootFile)).rejects.toThrow("ENOENT")
  await expect(fetch(lab.url)).rejects.toThrow("fetch failed")
})

test("its Fulcio believes only its own tokens, and only fresh ones", async () => {
  const [lab, other] = await Promise.all([startSigstore(), startSigstore()])
  try {
    const who = { email: "alice@example.com" }
    const ask = async (oidcIdentityToken: string) => {
      const publicKeyRequest = { publicKey: { content: "" }, proofOfPossession: "" }
      const body = JSON.stringify({ credentials: { oidcIdentityToken }, publicKeyRequest })
      const response = await fetch(`${lab.url}/api/v2/signingCert`, { method: "POST", body })
      return response.text()
    }
    expect(await ask(other.mintToken(who))).toContain("bad signature")
    expect(await ask(lab.mintToken(who, { exp: 1 }))).toContain("expired")
    expect(await ask(lab.mintToken(who, { aud: "other" }))).toContain("wrong audience")
    expect(await ask(lab.mintToken(who, { iss: "https://i.invalid" }))).toContain("unknown issuer")
  } finally {
    await Promise.all([lab.stop(), other.stop()])
  }
})
