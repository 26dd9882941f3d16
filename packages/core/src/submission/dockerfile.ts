import type { Declaration } from "./declaration.js"

const USUAL = ["server/Dockerfile", "Dockerfile"]

/**
 * Where the Dockerfile may be, the first that is there being the one that is built: where the declaration says, or in
 * the usual places. A path is relative to the submission.
 */
export const dockerfileCandidates = ({ dockerfile }: Declaration): readonly string[] =>
  dockerfile === null ? USUAL : [dockerfile.replace(/^(\.\/+)+/, "")]

/** The Dockerfile among a submission's files; undefined where there is none. */
export const chooseDockerfile = (declaration: Declaration, has: (path: string) => boolean): string | undefined =>
  dockerfileCandidates(declaration).find(has)
