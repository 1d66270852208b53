/** Why a name is looked up (design §7). */
export type Cause = "First" | "Unmapped" | "Unanswered" | "Unreachable" | "Stale" | "ClientAsked" | "Restarted"
