/** Why a name is looked up. */
export type Cause = "First" | "Unmapped" | "Unanswered" | "Unreachable" | "Stale" | "ClientAsked" | "Restarted"
