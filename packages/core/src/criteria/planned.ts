import type { CatalogueRow } from "./criterion.js"

/** Criteria of the catalogue that this version does not observe yet: they are in every report, as unmeasured. */
export const planned = {
  "conversion-clean": {
    id: "conversion-clean",
    name: "conversion",
    requirement: "Conversions to Nydus and to eStargz both succeed and keep every file.",
    upstream: [],
  },
  "time-to-first-useful-work": {
    id: "time-to-first-useful-work",
    name: "first useful work",
    requirement: "The environment answers before the whole image is pulled.",
    upstream: ["hub.time_to_first_work"],
  },
  "periodic-learnability": {
    id: "periodic-learnability",
    name: "learning",
    requirement: "A short training run of a known model gives a signal.",
    upstream: [
      "statistical.reward_reachability",
      "statistical.difficulty_separation",
      "statistical.headroom",
      "statistical.variance_bound",
      "statistical.training_signal",
    ],
  },
  "session-scaling": {
    id: "session-scaling",
    name: "sessions",
    requirement: "The environment serves as many sessions at once as it declares, apart from each other.",
    upstream: [],
  },
  "reward-integrity": {
    id: "reward-integrity",
    name: "reward",
    requirement: "The reward cannot be had without doing the task.",
    upstream: [],
  },
  "oci-runtime-conformance": {
    id: "oci-runtime-conformance",
    name: "runtime conformance",
    requirement: "The configuration that the OCI runtime got conforms to the runtime specification.",
    upstream: [],
  },
  "runtime-isolation": {
    id: "runtime-isolation",
    name: "isolation",
    requirement: "The container ran isolated: capabilities, namespaces, seccomp, mounts and limits.",
    upstream: [],
  },
  "runtime-drift": {
    id: "runtime-drift",
    name: "runtime drift",
    requirement: "Two starts get the same runtime configuration.",
    upstream: [],
  },
  "gpu-workload": {
    id: "gpu-workload",
    name: "GPU",
    requirement: "Known GPU workloads run through the device path that the environment uses.",
    upstream: [],
  },
} as const satisfies Record<string, CatalogueRow>
