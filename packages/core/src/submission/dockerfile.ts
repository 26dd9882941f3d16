import type { Declaration } from "./declaration.js"

const USUAL = ["server/Dockerfile", "Dockerfile"]

/**
 * Where the Dockerfile may be, the first that is there being the one that is built: where the declaration says, or in
 * the usual places. A path is relative to the submission; one that leads out of it stays as it is, and names no file.
 */
export const dockerfileCandidates = ({ dockerfile }: Declaration): readonly string[] =>
  dockerfile === null ? USUAL : [plainPath(dockerfile)]

function plainPath(path: string): string {
  const parts = path.split("/").filter(part => part !== "" && part !== ".")
  return path.startsWith("/") || parts.includes("..") ? path : parts.join("/")
}

/** The Dockerfile among a submission's files; undefined where there is none. */
export const chooseDockerfile = (declaration: Declaration, has: (path: string) => boolean): string | undefined =>
  dockerfileCandidates(declaration).find(has)
