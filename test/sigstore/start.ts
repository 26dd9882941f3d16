import { type ChildProcess, spawn } from "node:child_process"
import { createHmac } from "node:crypto"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { type Claims, claimsOf, EMAIL_ISSUER, GITHUB_ISSUER, type LabIdentity, nameOf } from "./claims.ts"

export type { Claims, Defect, LabIdentity } from "./claims.ts"

/** A running throw-away Sigstore. */
export interface SigstoreLab {
  /** Fulcio, both Rekors and the timestamp authority are all here. */
  readonly url: string
  readonly trustedRootFile: string
  /** Signs into the Rekor v2, with a timestamp. */
  readonly signingConfigFile: string
  /** Signs into the Rekor v1, which gives a time of its own, and with a timestamp. */
  readonly signingConfigV1File: string
  /** The issuers whose tokens its Fulcio takes. */
  readonly issuer: string
  readonly githubIssuer: string
  /** An identity token for this signer; `extra` replaces or adds claims. */
  readonly mintToken: (who: LabIdentity, extra?: Partial<Claims>) => string
  /** What a verifier must be told about this signer. */
  readonly signerOf: (who: LabIdentity) => { readonly identity: string; readonly issuer: string }
  /** Ends the process and deletes the files. */
  readonly stop: () => Promise<void>
}

interface Ready {
  readonly url: string
  readonly trustedRoot: unknown
  readonly signingConfigs: { readonly v1: unknown; readonly v2: unknown }
  readonly tokenSecret: string
}

const SERVER = fileURLToPath(new URL("./server.ts", import.meta.url))
const PATIENCE_MS = 30_000

/** Starts a throw-away Sigstore with fresh keys, on a port of its own. Needs a Node that runs TypeScript. */
export async function startSigstore(): Promise<SigstoreLab> {
  const child = spawn(process.execPath, [SERVER], { stdio: ["pipe", "pipe", "inherit"] })
  const ended = new Promise<void>(resolve => child.once("close", () => resolve()))
  const folder = await mkdtemp(join(tmpdir(), "sigstore-lab-"))
  const stop = async () => {
    child.kill("SIGTERM")
    await ended
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const ready: Ready = JSON.parse(await firstLine(child))
    const write = async (name: string, value: unknown) => {
      const file = join(folder, name)
      await writeFile(file, `${JSON.stringify(value, null, 2)}\n`)
      return file
    }
    return {
      url: ready.url,
      trustedRootFile: await write("trusted_root.json", ready.trustedRoot),
      signingConfigFile: await write("signing_config.json", ready.signingConfigs.v2),
      signingConfigV1File: await write("signing_config_v1.json", ready.signingConfigs.v1),
      issuer: EMAIL_ISSUER,
      githubIssuer: GITHUB_ISSUER,
      mintToken: (who, extra) => mintToken({ ...claimsOf(who), ...extra }, ready.tokenSecret),
      signerOf: who => ({ identity: nameOf(claimsOf(who)).value, issuer: claimsOf(who).iss }),
      stop,
    }
  } catch (cause) {
    await stop()
    throw cause
  }
}

function mintToken(claims: Claims, secret: string): string {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) throw new TypeError("the server's standard output is not connected")
    const timer = setTimeout(() => reject(new Error("the throw-away Sigstore is not ready in time")), PATIENCE_MS)
    const lines = createInterface({ input: child.stdout })
    lines.once("line", line => resolve(line))
    child.once("error", reject)
    child.once("close", code => reject(new Error(`the throw-away Sigstore ended with ${code}`)))
    const settle = () => clearTimeout(timer)
    lines.once("line", settle)
    child.once("close", settle)
  })
}
