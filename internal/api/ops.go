package api

// ops are all questions and commands, as they are served.
var ops = []registered{
	AskUsage, AskRequests, AskConflicts, AskTallies,
	ListCustomers, AddCustomer, UpdateCustomer, ArchiveCustomer, RestoreCustomer,
	ListProjects, AddProject, ArchiveProject,
	ListKeys, AddKey, ArchiveKey,
	AskPrices, ListPriceVersions, ApplyPrices, CheckPrices, DiffPrices,
	MakeTag, RotateTags, AskAudit, AskCheckpoint, ProveRequest,
	ListInvoices, ShowInvoice, DraftInvoice, FinaliseInvoice, VoidInvoice, ExplainLine, ExplainRequest, ExplainTrace,
}
