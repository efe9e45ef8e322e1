package vllmsim

// Bounds that several histograms share, as recorded. Those over tokens depend on
// the model's length: see lengthBuckets.
var (
	requestBuckets = []float64{0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
	outputBuckets  = []float64{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	tokenBuckets   = []float64{} // stands for lengthBuckets(MaxModelLen)
)

// lengthBuckets are 1, 2, 5, 10, … up to limit, as vLLM builds them.
func lengthBuckets(limit int) []float64 {
	var out []float64
	for exp := 1; ; exp *= 10 {
		for _, m := range []int{1, 2, 5} {
			if m*exp > limit {
				return out
			}
			out = append(out, float64(m*exp))
		}
	}
}

// Which labels every sample of a family has.
const (
	noLabels     = iota
	modelLabels  // model_name
	engineLabels // engine, model_name
)

// definition is one family of /metrics. The names, helps, orders and labels are
// the recorded ones (seed/metrics-after.txt); TestMetricsAreTheRecordedOnes compares.
type definition struct {
	name    string // without the _total of a counter
	kind    string
	help    string
	base    int
	label   string   // one more label …
	values  []string // … and its values, all present from the start
	buckets []float64
	dynamic bool   // children appear when they are first counted
	info    string // the labels of a constant 1, as they are printed
}

const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
	summary   = "summary"
)

var definitions = []definition{
	{name: "python_gc_objects_collected", kind: counter, base: noLabels, help: "Objects collected during gc", label: "generation", values: []string{"0", "1", "2"}},
	{name: "python_gc_objects_uncollectable", kind: counter, base: noLabels, help: "Uncollectable objects found during GC", label: "generation", values: []string{"0", "1", "2"}},
	{name: "python_gc_collections", kind: counter, base: noLabels, help: "Number of times this generation was collected", label: "generation", values: []string{"0", "1", "2"}},
	{name: "python_info", kind: gauge, base: noLabels, help: "Python platform information", info: `implementation="CPython",major="3",minor="11",patchlevel="7",version="3.11.7"`},
	{name: "process_virtual_memory_bytes", kind: gauge, base: noLabels, help: "Virtual memory size in bytes."},
	{name: "process_resident_memory_bytes", kind: gauge, base: noLabels, help: "Resident memory size in bytes."},
	{name: "process_start_time_seconds", kind: gauge, base: noLabels, help: "Start time of the process since unix epoch in seconds."},
	{name: "process_cpu_seconds", kind: counter, base: noLabels, help: "Total user and system CPU time spent in seconds."},
	{name: "process_open_fds", kind: gauge, base: noLabels, help: "Number of open file descriptors."},
	{name: "process_max_fds", kind: gauge, base: noLabels, help: "Maximum number of open file descriptors."},
	{name: "vllm:estimated_flops_per_gpu", kind: counter, base: engineLabels, help: "Estimated number of floating point operations per GPU (for Model Flops Utilization calculations)."},
	{name: "vllm:estimated_read_bytes_per_gpu", kind: counter, base: engineLabels, help: "Estimated number of bytes read from memory per GPU (for Model Flops Utilization calculations)."},
	{name: "vllm:estimated_write_bytes_per_gpu", kind: counter, base: engineLabels, help: "Estimated number of bytes written to memory per GPU (for Model Flops Utilization calculations)."},
	{name: "vllm:num_requests_running", kind: gauge, base: engineLabels, help: "Number of requests in model execution batches."},
	{name: "vllm:num_requests_waiting", kind: gauge, base: engineLabels, help: "Number of requests waiting to be processed."},
	{name: "vllm:num_requests_waiting_by_reason", kind: gauge, base: engineLabels, help: "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons equals vllm:num_requests_waiting.", label: "reason", values: []string{"capacity", "deferred"}},
	{name: "vllm:engine_sleep_state", kind: gauge, base: engineLabels, help: "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.", label: "sleep_state", values: []string{"awake", "weights_offloaded", "discard_all"}},
	{name: "vllm:kv_cache_usage_perc", kind: gauge, base: engineLabels, help: "KV-cache usage. 1 means 100 percent usage."},
	{name: "vllm:prefix_cache_queries", kind: counter, base: engineLabels, help: "Prefix cache queries, in terms of number of queried tokens."},
	{name: "vllm:prefix_cache_hits", kind: counter, base: engineLabels, help: "Prefix cache hits, in terms of number of cached tokens."},
	{name: "vllm:external_prefix_cache_queries", kind: counter, base: engineLabels, help: "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried tokens."},
	{name: "vllm:external_prefix_cache_hits", kind: counter, base: engineLabels, help: "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens."},
	{name: "vllm:mm_cache_queries", kind: counter, base: engineLabels, help: "Multi-modal cache queries, in terms of number of queried items."},
	{name: "vllm:mm_cache_hits", kind: counter, base: engineLabels, help: "Multi-modal cache hits, in terms of number of cached items."},
	{name: "vllm:num_preemptions", kind: counter, base: engineLabels, help: "Cumulative number of preemption from the engine."},
	{name: "vllm:prompt_tokens", kind: counter, base: engineLabels, help: "Number of prefill tokens processed."},
	{name: "vllm:prompt_tokens_by_source", kind: counter, base: engineLabels, help: "Number of prompt tokens by source.", label: "source", values: []string{"local_compute", "local_cache_hit", "external_kv_transfer"}},
	{name: "vllm:prompt_tokens_cached", kind: counter, base: engineLabels, help: "Number of cached prompt tokens (local + external)."},
	{name: "vllm:prompt_tokens_cached_by_source", kind: counter, base: engineLabels, help: "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded to DRAM), disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at admission; sums to vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.", label: "source", values: []string{"device", "host", "p2p", "disk", "external_unspecified"}},
	{name: "vllm:generation_tokens", kind: counter, base: engineLabels, help: "Number of generation tokens processed."},
	{name: "vllm:request_success", kind: counter, base: engineLabels, help: "Count of successfully processed requests.", label: "finished_reason", values: []string{"stop", "length", "abort", "error", "repetition"}},
	{name: "vllm:admission_rejections", kind: counter, base: modelLabels, help: "Number of admission attempts rejected by a queue limit, by reason.", label: "reason", values: []string{"max_num_queued_reqs", "max_num_queued_tokens"}},
	{name: "vllm:request_prompt_tokens", kind: histogram, base: engineLabels, help: "Number of prefill tokens processed.", buckets: tokenBuckets},
	{name: "vllm:request_generation_tokens", kind: histogram, base: engineLabels, help: "Number of generation tokens processed.", buckets: tokenBuckets},
	{name: "vllm:iteration_tokens_total", kind: histogram, base: engineLabels, help: "Histogram of number of tokens per engine_step.", buckets: []float64{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}},
	{name: "vllm:request_max_num_generation_tokens", kind: histogram, base: engineLabels, help: "Histogram of maximum number of requested generation tokens.", buckets: tokenBuckets},
	{name: "vllm:request_params_n", kind: histogram, base: engineLabels, help: "Histogram of the n request parameter.", buckets: []float64{1, 2, 5, 10, 20}},
	{name: "vllm:request_params_max_tokens", kind: histogram, base: engineLabels, help: "Histogram of the max_tokens request parameter.", buckets: tokenBuckets},
	{name: "vllm:time_to_first_token_seconds", kind: histogram, base: engineLabels, help: "Histogram of time to first token in seconds.", buckets: []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}},
	{name: "vllm:inter_token_latency_seconds", kind: histogram, base: engineLabels, help: "Histogram of inter-token latency in seconds.", buckets: outputBuckets},
	{name: "vllm:request_time_per_output_token_seconds", kind: histogram, base: engineLabels, help: "Histogram of time_per_output_token_seconds per request.", buckets: outputBuckets},
	{name: "vllm:e2e_request_latency_seconds", kind: histogram, base: engineLabels, help: "Histogram of e2e request latency in seconds.", buckets: requestBuckets},
	{name: "vllm:request_queue_time_seconds", kind: histogram, base: engineLabels, help: "Histogram of time spent in WAITING phase for request.", buckets: requestBuckets},
	{name: "vllm:request_inference_time_seconds", kind: histogram, base: engineLabels, help: "Histogram of time spent in RUNNING phase for request.", buckets: requestBuckets},
	{name: "vllm:request_prefill_time_seconds", kind: histogram, base: engineLabels, help: "Histogram of time spent in PREFILL phase for request.", buckets: requestBuckets},
	{name: "vllm:request_decode_time_seconds", kind: histogram, base: engineLabels, help: "Histogram of time spent in DECODE phase for request.", buckets: requestBuckets},
	{name: "vllm:request_num_preemptions", kind: histogram, base: engineLabels, help: "Histogram of the number of times a request was preempted.", buckets: []float64{1, 2, 3, 4, 5, 10, 20}},
	{name: "vllm:request_prefill_kv_computed_tokens", kind: histogram, base: engineLabels, help: "Histogram of new KV tokens computed during prefill (excluding cached tokens).", buckets: tokenBuckets},
	{name: "vllm:cache_config_info", kind: gauge, base: noLabels, help: "Information of the LLMEngine CacheConfig", info: cacheConfig},
	{name: "http_requests", kind: counter, base: noLabels, help: "Total number of requests by method, status and handler.", dynamic: true},
	{name: "http_request_size_bytes", kind: summary, base: noLabels, help: "Content length of incoming requests by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. ", dynamic: true},
	{name: "http_response_size_bytes", kind: summary, base: noLabels, help: "Content length of outgoing responses by handler. Only value of header is respected. Otherwise ignored. No percentile calculated. ", dynamic: true},
	{name: "http_request_duration_highr_seconds", kind: histogram, base: noLabels, help: "Latency with many buckets but no API specific labels. Made for more accurate percentile calculations. ", buckets: []float64{0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60}},
	{name: "http_request_duration_seconds", kind: histogram, base: noLabels, help: "Latency with only few buckets by handler. Made to be only used if aggregation by handler is important. ", buckets: []float64{0.1, 0.5, 1}, dynamic: true},
}

// cacheConfig is the recorded server's, in the words of its settings.
const cacheConfig = `_block_size_resolved="True",block_size="128",cache_dtype="auto",cache_hit_alignment_tokens="None",effective_attention_block_size="128",enable_mamba_shared_prefix_checkpoint="False",enable_prefix_caching="True",engine="0",gpu_memory_utilization="0.92",hash_block_size="None",is_attention_free="False",kv_cache_dtype_skip_layers="[]",kv_cache_layout="None",kv_cache_max_concurrency="1024.0",kv_cache_memory_bytes="1073741824",kv_cache_size_tokens="1048576",kv_offloading_backend="native",kv_offloading_size="None",kv_sharing_fast_prefill="False",mamba_block_size="None",mamba_cache_dtype="auto",mamba_cache_mode="none",mamba_page_size_padded="None",mamba_ssm_cache_dtype="float32",num_cpu_blocks="None",num_gpu_blocks="8192",num_gpu_blocks_override="None",prefix_cache_retention_interval="0",prefix_caching_hash_algo="sha256",prefix_match_unit="None",replayssm_buffer_len="16",skip_page_size_padded="None",sliding_window="None",swa_bounded_replay="True",use_kda_recoverssm="False",use_replayssm="False",user_specified_block_size="False"`
