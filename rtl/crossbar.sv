// The products of a step on their way to the accumulator banks. A step stays in the register at the
// front until its banks have taken all its products; the next one follows in the cycle after.

module crossbar #(
    parameter int PRODUCTS = 16,
    parameter int BANKS = 32,
    parameter int ENTRIES = 64,
    parameter int DEPTH = 8,
    parameter int PORTS = 2,
    parameter int ADDER_STAGES = 1,
    parameter int VALUE_BITS = 32,
    localparam int BANK_BITS = BANKS > 1 ? $clog2(BANKS) : 1,
    localparam int ADDRESS_BITS = ENTRIES > 1 ? $clog2(ENTRIES) : 1
) (
    input  logic clock,
    input  logic reset,
    input  logic step_valid,
    output logic step_ready,
    input  logic [PRODUCTS-1:0] step_useful,
    input  logic [PRODUCTS-1:0][BANK_BITS-1:0] step_bank,
    input  logic [PRODUCTS-1:0][ADDRESS_BITS-1:0] step_address,
    input  logic [PRODUCTS-1:0][VALUE_BITS-1:0] step_value,
    output logic busy,
    input  logic [BANK_BITS-1:0] read_bank,
    input  logic [ADDRESS_BITS-1:0] read_address,
    output logic [VALUE_BITS-1:0] read_value
);
    logic occupied;
    logic [PRODUCTS-1:0] held;
    logic [PRODUCTS-1:0][BANK_BITS-1:0] held_bank;
    logic [PRODUCTS-1:0][ADDRESS_BITS-1:0] held_address;
    logic [PRODUCTS-1:0][VALUE_BITS-1:0] held_value;

    logic [BANKS-1:0][PRODUCTS-1:0] accepted;
    logic [BANKS-1:0] bank_busy;
    logic [BANKS-1:0][VALUE_BITS-1:0] bank_value;

    for (genvar b = 0; b < BANKS; b++) begin : g_bank
        logic [PRODUCTS-1:0] offered;
        always_comb for (int i = 0; i < PRODUCTS; i++) offered[i] = held[i] && held_bank[i] == BANK_BITS'(b);
        bank #(
            .PRODUCTS(PRODUCTS), .ENTRIES(ENTRIES), .DEPTH(DEPTH), .PORTS(PORTS),
            .ADDER_STAGES(ADDER_STAGES), .VALUE_BITS(VALUE_BITS)
        ) i_bank (
            .clock, .reset, .offered, .address(held_address), .value(held_value),
            .accepted(accepted[b]), .busy(bank_busy[b]), .read_address, .read_value(bank_value[b])
        );
    end

    logic [PRODUCTS-1:0] waiting;
    always_comb begin
        waiting = held;
        for (int b = 0; b < BANKS; b++) waiting &= ~accepted[b];
    end

    assign step_ready = waiting == '0;
    always_ff @(posedge clock) begin
        held <= waiting;
        if (step_ready) begin
            occupied <= step_valid;
            held <= step_valid ? step_useful : '0;
            held_bank <= step_bank;
            held_address <= step_address;
            held_value <= step_value;
        end
        if (reset) begin
            occupied <= 0;
            held <= '0;
        end
    end

    assign busy = occupied || bank_busy != '0;
    assign read_value = bank_value[read_bank];
endmodule
