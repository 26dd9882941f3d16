import { execFile } from "node:child_process"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { keylessSigner, readSigningConfig, readTrustedRoot } from "@envidence/trust"
import { afterAll, beforeAll, expect, test } from "vitest"
import { startSigstore } from "../../../test/sigstore/start.ts"
import { statement } from "./attestations.ts"

const alice = { email: "alice@example.com" }
let folder: string
let signer: { identity: string; issuer: string }

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "offline-"))
  const lab = await startSigstore()
  try {
    const root = await readFile(lab.trustedRootFile)
    const services = readSigningConfig(await readFile(lab.signingConfigFile))
    const sign = keylessSigner({ identityToken: lab.mintToken(alice), services, trustedRoot: readTrustedRoot(root) })
    await writeFile(join(folder, "bundle.json"), await sign(statement))
    await writeFile(join(folder, "root.json"), root)
    signer = lab.signerOf(alice)
  } finally {
    await lab.stop()
  }
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test("verifying with a root from a file needs read access alone and loads no network code", async () => {
  const script = `
    import { readFileSync } from "node:fs"
    import { createRequire } from "node:module"
    import { Socket } from "node:net"
    const { readTrustedRoot, sigstoreAuthenticator } = await import(process.argv[1])
    let sockets = 0
    const connect = Socket.prototype.connect
    Socket.prototype.connect = function (...args) { sockets++; return connect.apply(this, args) }
    globalThis.fetch = () => { sockets++; throw new Error("no network") }
    const [, , bundle, root, signer] = process.argv
    const trustedRoot = readTrustedRoot(readFileSync(root))
    const authenticate = sigstoreAuthenticator({ trustedRoot, signers: { accepted: [JSON.parse(signer)] } })
    const { signer: { identity } } = await authenticate(readFileSync(bundle))
    const modules = Object.keys(createRequire(process.argv[1]).cache)
    const network = modules.filter(name => /make-fetch-happen|[/]@sigstore[/](sign|tuf)[/]|tuf-js|undici/.test(name))
    console.log(JSON.stringify({ identity, sockets, modules: modules.length > 0, network }))
  `
  const entry = fileURLToPath(import.meta.resolve("@envidence/trust"))
  const files = [join(folder, "bundle.json"), join(folder, "root.json"), JSON.stringify(signer)]
  const flags = ["--permission", "--allow-fs-read=*", "--input-type=module", "--eval", script]
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, entry, ...files])
  expect(JSON.parse(stdout)).toEqual({ identity: "alice@example.com", sockets: 0, modules: true, network: [] })
})
