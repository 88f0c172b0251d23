// One accumulator bank: a queue that takes at most PORTS products a cycle, and an adder of
// ADDER_STAGES stages before the sums. A product whose sum is still in the adder waits, and those
// behind it wait too. A product may pass an empty queue.

module bank #(
    parameter int PRODUCTS = 16,     // of a step
    parameter int ENTRIES = 64,      // partial sums
    parameter int DEPTH = 8,         // products that wait in the queue
    parameter int PORTS = 2,         // products it takes in a cycle
    parameter int ADDER_STAGES = 1,  // cycles until a sum can be added to again
    parameter int VALUE_BITS = 32,
    localparam int ADDRESS_BITS = ENTRIES > 1 ? $clog2(ENTRIES) : 1
) (
    input  logic clock,
    input  logic reset,
    input  logic [PRODUCTS-1:0] offered,
    input  logic [PRODUCTS-1:0][ADDRESS_BITS-1:0] address,
    input  logic [PRODUCTS-1:0][VALUE_BITS-1:0] value,
    output logic [PRODUCTS-1:0] accepted,  // in this cycle: the first of those offered
    output logic busy,                     // products wait or are being added
    input  logic [ADDRESS_BITS-1:0] read_address,
    output logic [VALUE_BITS-1:0] read_value
);
    localparam int SLOTS = DEPTH > 0 ? DEPTH : 1;
    localparam int COUNT_BITS = $clog2(DEPTH + PRODUCTS + 2);

    logic [SLOTS-1:0][ADDRESS_BITS-1:0] queue_address;
    logic [SLOTS-1:0][VALUE_BITS-1:0] queue_value;
    logic [COUNT_BITS-1:0] count;
    logic [VALUE_BITS-1:0] sums[ENTRIES];

    // The product at the head: the oldest in the queue, else the first one offered.
    logic head_valid;
    logic [ADDRESS_BITS-1:0] head_address;
    logic [VALUE_BITS-1:0] head_value;
    always_comb begin
        head_valid   = count != 0;
        head_address = queue_address[0];
        head_value   = queue_value[0];
        if (count == 0)
            for (int i = PRODUCTS - 1; i >= 0; i--)
                if (offered[i]) begin
                    head_valid   = 1'b1;
                    head_address = address[i];
                    head_value   = value[i];
                end
    end

    logic same_sum;  // the head's sum is still in the adder
    logic adding;    // some sum is
    wire retire = head_valid && !same_sum;

    // What leaves makes room in the same cycle.
    logic [COUNT_BITS-1:0] room;
    always_comb begin
        room = COUNT_BITS'(DEPTH) - count + COUNT_BITS'(retire);
        if (room > COUNT_BITS'(PORTS)) room = COUNT_BITS'(PORTS);
        accepted = '0;
        for (int i = 0; i < PRODUCTS; i++)
            if (offered[i] && room != 0) begin
                accepted[i] = 1'b1;
                room -= 1'b1;
            end
    end

    // The queue after this cycle: what waits, without its head if that leaves, then what was taken.
    logic [SLOTS-1:0][ADDRESS_BITS-1:0] next_address;
    logic [SLOTS-1:0][VALUE_BITS-1:0] next_value;
    logic [COUNT_BITS-1:0] next_count;
    logic passes;  // the product that leaves is the first one taken
    always_comb begin
        next_address = queue_address;
        next_value   = queue_value;
        next_count   = count;
        passes       = retire && count == 0;
        if (retire && count != 0) begin
            for (int s = 0; s + 1 < SLOTS; s++) begin
                next_address[s] = queue_address[s+1];
                next_value[s]   = queue_value[s+1];
            end
            next_count = count - 1'b1;
        end
        for (int i = 0; i < PRODUCTS; i++)
            if (accepted[i]) begin
                if (!passes) begin
                    for (int s = 0; s < SLOTS; s++)
                        if (next_count == COUNT_BITS'(s)) begin
                            next_address[s] = address[i];
                            next_value[s]   = value[i];
                        end
                    next_count += 1'b1;
                end
                passes = 1'b0;
            end
    end

    always_ff @(posedge clock) begin
        queue_address <= next_address;
        queue_value   <= next_value;
        count         <= reset ? '0 : next_count;
    end

    if (ADDER_STAGES <= 1) begin : g_adder
        assign same_sum = 1'b0;
        assign adding   = 1'b0;
        always_ff @(posedge clock)
            if (reset) for (int e = 0; e < ENTRIES; e++) sums[e] <= '0;
            else if (retire) sums[head_address] <= sums[head_address] + head_value;
    end else begin : g_adder
        localparam int LATER = ADDER_STAGES - 1;  // stages after the first
        logic [LATER-1:0] valid;
        logic [LATER-1:0][ADDRESS_BITS-1:0] stage_address;
        logic [LATER-1:0][VALUE_BITS-1:0] stage_sum;
        always_comb begin
            same_sum = 1'b0;
            for (int s = 0; s < LATER; s++)
                if (valid[s] && stage_address[s] == head_address) same_sum = 1'b1;
        end
        assign adding = valid != '0;
        always_ff @(posedge clock) begin
            valid[0]         <= retire && !reset;
            stage_address[0] <= head_address;
            stage_sum[0]     <= sums[head_address] + head_value;
            for (int s = 1; s < LATER; s++) begin
                valid[s]         <= valid[s-1] && !reset;
                stage_address[s] <= stage_address[s-1];
                stage_sum[s]     <= stage_sum[s-1];
            end
            if (reset) for (int e = 0; e < ENTRIES; e++) sums[e] <= '0;
            else if (valid[LATER-1]) sums[stage_address[LATER-1]] <= stage_sum[LATER-1];
        end
    end

    assign busy = count != 0 || adding;
    assign read_value = sums[read_address];
endmodule
